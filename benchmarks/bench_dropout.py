"""Functional dropout against `nn.Dropout`, torch.compile, JAX and Keras, and against a plain copy.

Masks are verified before anything is timed. All rivals of a case take turns, sample by sample, so
that what else the machine does hits all of them. Times are in seconds a call. Outputs are new
tensors, as users get them; the copies are `out.copy_(x)` into memory that is there already (the
floor) and `x.clone()`, which also needs new memory. `--quick` takes fewer samples and cases.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import torch
from _harness import Benchmark
from torch import Tensor

from droplab.ops import dropout, selftest

P = 0.3
SIZES = (14, 20, 24)
DTYPES = (torch.float32, torch.bfloat16)
README = ((20, torch.float32, 1), (24, torch.float32, 1))
WORDS = {"forward": "forward", "backward": "backward", "both": "forward + backward"}
TARGETS = {"forward": 30.0, "both": 15.0}

Function = Callable[[], object]


def verify() -> None:
    """Stop unless the masks on this machine are right."""
    result = selftest(devices=["cpu"], compiled=False)
    if not result.passed:
        bad = [check.name for check in result.checks if not check.passed]
        raise SystemExit(f"nothing timed, the masks are wrong: {', '.join(bad)}")


def take_turns(functions: dict[str, Function], budget: float) -> dict[str, list[float]]:
    """Return samples of seconds a call; each sample is long enough for the clock.

    Each sample begins with ten milliseconds of calls that are not timed, one call at least, so that
    nobody pays for what the rival before left in the caches. (Forward and backward of ours at 2^20,
    after `nn.Dropout` or its compiled form: 1.3 ms the first time, 1.0 the second, 0.65 from the
    sixth on.)

    Args:
        functions: Name to what is timed.
        budget: Seconds for all of them together, roughly.
    """
    calls: dict[str, int] = {}
    warm_up: dict[str, int] = {}
    round_seconds = 0.0
    for name, function in functions.items():
        function()
        once = min(_seconds(function, 1) for _ in range(3))
        calls[name] = max(1, math.ceil(3e-4 / once))
        warm_up[name] = max(1, math.ceil(1e-2 / once))
        round_seconds += once * (warm_up[name] + calls[name])
    rounds = max(5, min(200, int(budget / round_seconds)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            _seconds(function, warm_up[name])
            samples[name].append(_seconds(function, calls[name]) / calls[name])
    return samples


def _seconds(function: Function, calls: int) -> float:
    begin = perf_counter()
    for _ in range(calls):
        function()
    return perf_counter() - begin


class Case:
    """The same call for every rival: one size, dtype and direction."""

    def __init__(self, exponent: int, dtype: torch.dtype, direction: str) -> None:
        self.n = 1 << exponent
        self.dtype, self.direction = dtype, direction
        self.x = torch.randn(self.n).to(dtype)
        self.upstream = torch.randn(self.n).to(dtype)
        self.leaf = self.x.clone().requires_grad_()
        self.out = torch.empty_like(self.x)
        short = str(dtype).removeprefix("torch.")
        self.name = f"dropout, {WORDS[direction]}, 2^{exponent} {short}"

    def of(self, function: Callable[[Tensor], Tensor]) -> Function:
        """Return what is timed for a function from tensor to tensor."""
        if self.direction == "forward":
            return lambda: function(self.x)
        if self.direction == "both":
            return lambda: torch.autograd.grad(function(self.leaf), self.leaf, self.upstream)
        out = function(self.leaf)
        return lambda: torch.autograd.grad(out, self.leaf, self.upstream, retain_graph=True)

    def copies(self) -> dict[str, Function]:
        """Return the floors, for as many passes over the data as the case has."""
        if self.direction == "both":
            return {
                "copy": lambda: (self.out.copy_(self.x), self.out.copy_(self.x)),
                "clone": lambda: (self.x.clone(), self.x.clone()),
            }
        return {"copy": lambda: self.out.copy_(self.x), "clone": lambda: self.x.clone()}


def rivals(bench: Benchmark) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the rivals that work on torch tensors."""
    layer = torch.nn.Dropout(P)
    found: dict[str, Callable[[Tensor], Tensor]] = {"nn.Dropout": layer}
    if bench.quick:
        bench.skip("torch.compile(nn.Dropout)", "compiling takes too long for --quick")
        return found
    compiled = torch.compile(layer, dynamic=True)
    try:
        compiled(torch.ones(8))
    except Exception as error:
        bench.skip("torch.compile(nn.Dropout)", f"no compiler ({type(error).__name__})")
    else:
        found["torch.compile(nn.Dropout)"] = compiled
    return found


def other_libraries(bench: Benchmark, case: Case) -> dict[str, Function]:
    """Return the forward pass in JAX and Keras 3, jitted, where they are installed."""
    found: dict[str, Function] = {}
    if case.direction != "forward":
        return found
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        return found
    array = jax.numpy.asarray(case.x.float().numpy()).astype(str(case.dtype).removeprefix("torch."))
    key = jax.random.key(0)

    def bernoulli(key: Any, x: Any) -> Any:
        keep = jax.random.bernoulli(key, 1 - P, x.shape)
        return jax.numpy.where(keep, x / (1 - P), 0)

    jitted = jax.jit(bernoulli)
    found["jax.random.bernoulli, jitted, all cores"] = lambda: jitted(
        key, array
    ).block_until_ready()
    try:
        keras = importlib.import_module("keras")
    except ImportError:
        return found
    if keras.backend.backend() == "jax":
        seed = keras.random.SeedGenerator(0)
        call = jax.jit(lambda state, x: keras.random.dropout(x, P, seed=state))
        state = seed.state.value
        found["keras.random.dropout, jitted, all cores"] = lambda: call(
            state, array
        ).block_until_ready()
    return found


def kept_bytes(function: Callable[[Tensor], Tensor], n: int = 1 << 16) -> int:
    """Return the bytes that the graph keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.ones(n, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(x)
    return sum(kept.values())


def ours(x: Tensor) -> Tensor:
    """Call what is measured."""
    return dropout(x, P)


def throughput(bench: Benchmark, threads: int, budget: float) -> None:
    """Add the rows of all sizes, dtypes and directions."""
    torch.set_num_threads(threads)
    others = rivals(bench)
    if "torch.compile(nn.Dropout)" in others:
        bench.skip("torch.compile(nn.Dropout), backward alone", "can be run once a forward pass")
    directions = ("forward", "both") if bench.quick else ("forward", "backward", "both")
    for exponent in SIZES:
        for dtype in DTYPES:
            for direction in directions:
                case = Case(exponent, dtype, direction)
                functions = {"droplab": case.of(ours)}
                functions |= {
                    name: case.of(function)
                    for name, function in others.items()
                    if direction != "backward" or name == "nn.Dropout"
                }
                functions |= case.copies() | other_libraries(bench, case)
                samples = take_turns(functions, budget)
                mine = samples.pop("droplab")
                passes = 2 if direction == "both" else 1
                for name, theirs in samples.items():
                    target = TARGETS.get(direction) if name == "nn.Dropout" else None
                    hard = exponent == 20 and dtype == torch.float32 and threads == 1
                    bench.add(
                        f"{case.name}, {threads} thread{'s' * (threads > 1)}",
                        name,
                        mine,
                        theirs,
                        ns_an_element=1e9 * sorted(mine)[len(mine) // 2] / case.n,
                        bytes_a_second=2
                        * passes
                        * case.n
                        * dtype.itemsize
                        / sorted(mine)[len(mine) // 2],
                        reach=target if hard else None,
                        readme=name == "nn.Dropout"
                        and not bench.quick
                        and (exponent, dtype, threads) in README
                        and direction in TARGETS,
                    )


def overhead(bench: Benchmark, budget: float) -> None:
    """Add the cost of a call on 2^10 elements, and the bytes kept for the backward pass."""
    torch.set_num_threads(1)
    layer = torch.nn.Dropout(P)
    x = torch.randn(1 << 10)
    leaf = x.clone().requires_grad_()
    for name, tensor, reach in (("without grad", x, 15e-6), ("with grad", leaf, 25e-6)):
        functions: dict[str, Function] = {
            "droplab": lambda tensor=tensor: dropout(tensor, P),
            "nn.Dropout": lambda tensor=tensor: layer(tensor),
        }
        samples = take_turns(functions, budget)
        bench.add(
            f"one call, 2^10 float32, {name}",
            "nn.Dropout",
            samples["droplab"],
            samples["nn.Dropout"],
            reach_seconds=reach,
        )
    bench.add(
        "kept for the backward pass, 2^16 float32",
        "nn.Dropout",
        [kept_bytes(ours)],
        [kept_bytes(layer)],
        unit="bytes",
    )


def main() -> None:
    """Run the benchmark."""
    description = (__doc__ or "").splitlines()[0]
    bench, _ = Benchmark.from_command_line("bench_dropout", description)
    verify()
    for package in ("jax", "keras"):
        if importlib.util.find_spec(package) is None:
            bench.skip(package, "not installed")
    if not torch.cuda.is_available():
        bench.skip("CUDA", "no GPU on this machine: the CUDA kernel was not timed")
    overhead(bench, 0.5 if bench.quick else 2.0)
    for threads in (1,) if bench.quick else (1, 2):
        throughput(bench, threads, 0.8 if bench.quick else 3.0)
    bench.finish()


if __name__ == "__main__":
    main()
