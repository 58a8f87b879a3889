"""Monte Carlo samples of a model's output, the same for the same seed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from droplab.errors import ArgumentError, quote
from droplab.numeric import whole
from droplab.placement import CALLS_A_STEP, Applied, as_call, inner
from droplab.rng import check_seed, stream_key
from droplab.uncertainty._awake import awake, unseeded
from droplab.uncertainty._blocks import ROWS, blocks, count_of, cut, example_of, rows_of
from droplab.uncertainty.outputs import Take, checked, close, on_inputs, outputs

_GROUP, _BYTES = 64, 2**27
"""Passes that are tried together where `chunk` does not say how many: so many at most, and as many
as keep the largest output of a module below so many bytes."""

_ALONE = 3
"""Passes alone that passes together are timed against; the quickest of them counts."""

Masks = Literal["per-input", "shared"]

Progress = Callable[[int, int | None], object]


def sample(
    model: nn.Module,
    data: Any,
    passes: int = 50,
    *,
    seed: int,
    masks: Masks = "per-input",
    rates: Any = None,
    batch_passes: bool | Literal["auto"] = "auto",
    chunk: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
    output: Take | None = None,
) -> Any:
    """Return the outputs of `passes` passes over the data with dropout awake.

    The same seed gives the same masks, on any device, and however much is computed at once: what
    comes out is the same within the rounding of sums in another order.

    Args:
        model: Any module; it is left as it was, flags, buffers and hooks.
        data: Inputs: a tensor (B, ...), a tuple of arguments, a mapping of keyword arguments, or a
            loader or map-style data set of them, whose items may be pairs of input and target.
        passes: How many passes, S.
        seed: What masks are drawn from, in [0, 2**63).
        masks: "per-input": every input has masks of its own. "shared": a pass has one mask for all
            inputs, which makes each pass one function.
        rates: Where to place dropout, for a model that has none; see `awake`.
        batch_passes: Whether several passes are computed at once by `vmap`, which not every model
            can. "auto": where that is measured to be faster, or where `chunk` says how many.
        chunk: How many passes times inputs are computed at once at most, from 64 (`ROWS`) on;
            where the model's passes cannot be batched, it is one pass of 64. "auto": up to 64
            passes.
        progress: Called with how many inputs are done, and of how many, None if that is not known.
        output: Takes what is wanted out of what a pass returns, `lambda out: out.logits` for
            example, where that is not tensors alone.

    Shape:
        (S, B, ...), or tuples and dictionaries of such, as the model returns them. A data class
        becomes a dictionary, without what is None in it.

    Returns:
        The samples, without gradients, on the device of the model's output.

    Raises:
        ArgumentError: If nothing drops, `passes` is below 1 or `chunk` below 64, the model changes
            its own state, draws random numbers that follow from no seed, fails on some of the data,
            its output has another shape for other inputs, or is NaN.
        PlacementError: If the model does not run on the first inputs, or is scripted.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
        >>> found = sample(model, torch.ones(3, 4), passes=5, seed=0)
        >>> found.shape, bool((found[0] != found[1]).any())
        (torch.Size([5, 3, 2]), True)
    """
    how = masks, rates, batch_passes, chunk, progress, output
    parts = [each for each, _ in sampled(model, data, passes, seed, *how)]
    leaves = [tree_leaves(part) for part in parts]
    _, form = tree_flatten(parts[0])
    return tree_unflatten([torch.cat(each, dim=1) for each in zip(*leaves, strict=True)], form)


def sampled(
    model: nn.Module,
    data: Any,
    passes: int,
    seed: int,
    masks: Masks = "per-input",
    rates: Any = None,
    batch_passes: bool | Literal["auto"] = "auto",
    chunk: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
    output: Take | None = None,
) -> Iterator[tuple[Any, int]]:
    """Yield the samples of one block of inputs after the other, and how many inputs it has."""
    count = whole(passes)
    if count is None or count < 1:
        raise ArgumentError(f"passes: expected a whole number of at least 1, got {quote(passes)}")
    if masks not in ("per-input", "shared"):
        raise ArgumentError(f"masks: expected 'per-input' or 'shared', got {quote(masks)}")
    most = whole(chunk)
    if chunk != "auto" and (most is None or most < ROWS):
        raise ArgumentError(
            f"chunk: expected 'auto' or a whole number of at least {ROWS}, the inputs that go "
            f"through the model together, got {quote(chunk)}"
        )
    if batch_passes not in (True, False, "auto"):
        raise ArgumentError(
            f"batch_passes: expected True, False or 'auto', got {quote(batch_passes)}"
        )
    check_seed(seed)
    total, done = count_of(data), 0
    parts = blocks(data)
    first = next(parts, None)
    if first is None:
        raise ArgumentError("data: expected at least one input, got none")
    core = inner(model)
    check_unseeded(core)
    example = example_of(first)
    with torch.no_grad(), awake(core, rates, example=example) as woken, unseeded(core):
        applied = Applied(core, (), woken.paths)
        try:
            applied.seed(dict.fromkeys(applied.streams, 0))
            forward = Passes(core, applied, seed, masks == "shared", output)
            with on_inputs(core, 0, rows_of(first)):
                largest = forward.check(first)
            forward.timed = most is None and batch_passes == "auto"
            if batch_passes is False:
                forward.together = 1
            elif most is None:
                forward.together = min(_GROUP, count, max(1, _BYTES // max(1, largest)))
            else:
                forward.together = min(count, most // rows_of(first))
            shape: Any = None
            for number, block in enumerate(chain((first,), parts)):
                rows = rows_of(block)
                with on_inputs(core, done, rows):
                    out = forward.passes(block, number, count)
                shape = checked(out, rows, done, shape)
                yield out, rows
                done += rows
                if progress is not None:
                    progress(done, total)
        finally:
            applied.revert()


class Passes:
    """The passes over one block of inputs.

    Args:
        core: The model, awake.
        applied: What gives keys to whatever draws in it.
        seed: The seed.
        shared: Whether all inputs have the same masks.
        take: Takes what is wanted out of what the model returns.
    """

    def __init__(
        self,
        core: nn.Module,
        applied: Applied,
        seed: int,
        shared: bool,
        take: Take | None = None,
    ) -> None:
        self.core, self.applied, self.seed, self.shared = core, applied, seed, shared
        self.take = take
        self.rows_together = True
        self.together, self.timed = 1, True
        """How many passes go together, and whether they have to be faster than one by one."""
        self.trials = 2
        """Blocks that may still show that they are."""

    def keys(self, block: int, start: int, count: int) -> Tensor:
        """Return the keys of some passes, (passes, streams, 2)."""
        number = 0 if self.shared else block
        names = [f"uncertainty/{name}" for name in self.applied.streams]
        streams = torch.tensor([stream_key(self.seed, name, number) for name in names])
        keys = torch.stack((streams, torch.zeros_like(streams)), dim=-1).repeat(count, 1, 1)
        keys[:, :, 1] = torch.arange(start, start + count)[:, None] * CALLS_A_STEP
        return keys

    def call(self, keys: Tensor, block: Any) -> Any:
        """Return the output of one pass."""
        self.applied.begin_pass()
        args, kwargs = as_call(block)
        with self.applied.substituted(self.applied.p, keys):
            return outputs(self.core(*args, **kwargs), self.take)

    def one(self, keys: Tensor, block: Any) -> Any:
        """Return the output of one pass, with masks as they are asked for."""
        if not self.shared:
            return self.call(keys, block)
        alone = tree_map(lambda x: x.unsqueeze(1) if isinstance(x, Tensor) else x, block)
        if self.rows_together:
            try:
                dims = tree_map(lambda x: 0 if isinstance(x, Tensor) else None, block)
                out = vmapped(lambda row: self.call(keys, row), (dims,))(alone)
                return tree_map(lambda x: x.flatten(0, 1), out)
            except RuntimeError:  # an operation that torch cannot batch
                self.rows_together = False
        each = [self.call(keys, cut(block, i, i + 1)) for i in range(rows_of(block))]
        return tree_map(lambda *rows: torch.cat(rows), *each)

    def passes(self, block: Any, number: int, count: int) -> Any:
        """Return the outputs of all passes over one block of inputs, stacked.

        The first block shows whether passes can go together, and whether that is faster; so does
        the second one where it was not, since what is done for the first time is slow.
        """
        found: list[Any] = []
        done = 0
        if self.trials and self.together > 1:
            first = self.tried(block, self.keys(number, 0, self.together))
            if first is not None:
                found, done = [first], len(tree_leaves(first)[0])
        for start in range(done, count, self.together):
            keys = self.keys(number, start, min(self.together, count - start))
            if self.together > 1:
                found.append(vmapped(self.one, (0, None))(keys, block))
            else:
                found.append(tree_map(lambda x: x.unsqueeze(0), self.one(keys[0], block)))
        return tree_map(lambda *parts: torch.cat(parts), *found)

    def check(self, block: Any) -> int:
        """Make sure that a pass follows from its keys; return the bytes of its largest output."""
        before = {name: buffer.clone() for name, buffer in self.core.named_buffers()}
        weights = _versions(self.core)
        sizes = [0]

        def see(module: nn.Module, args: Any, out: Any) -> None:
            sizes.extend(x.nbytes for x in tree_leaves(out) if isinstance(x, Tensor))

        hooks = [module.register_forward_hook(see) for module in self.core.modules()]
        keys = self.keys(0, 0, 1)[0]
        try:
            once = self.one(keys, block)
        finally:
            for hook in hooks:
                hook.remove()
        changed = [
            *(n for n, x in self.core.named_buffers() if n in before and not x.equal(before[n])),
            *(n for n, version in _versions(self.core).items() if version != weights.get(n)),
        ]
        if changed:
            raise ArgumentError(
                f"sample: expected a model whose forward pass leaves its state alone, got one that "
                f"changes '{changed[0]}', so that its passes depend on each other"
            )
        pairs = zip(tree_leaves(once), tree_leaves(self.one(keys, block)), strict=True)
        if not all(close(again, one) for one, again in pairs):
            raise ArgumentError(
                "sample: expected a model that gives the same output for the same input and masks, "
                "got one that does not: it keeps something from pass to pass, or draws by random, "
                "numpy, a generator of its own, or torch.randperm or torch.multinomial, which "
                "follow from no seed here; draw by torch.rand, or droplab.ops"
            )
        return max(sizes)

    def tried(self, block: Any, keys: Tensor) -> Any:
        """Return passes together, and learn whether the next ones should be; None if they cannot.

        What goes one by one from now on has `together` = 1.
        """
        began = time.perf_counter()
        alone: Any = None
        try:
            batched = vmapped(self.one, (0, None))(keys, block)
            _wait(batched)
            seconds = [(time.perf_counter() - began) / len(keys)]
            for each in keys[-_ALONE:] if self.timed else keys[-1:]:
                began = time.perf_counter()
                alone = self.one(each, block)
                _wait(alone)
                seconds.append(time.perf_counter() - began)
        except (RuntimeError, NotImplementedError, ArgumentError):  # vmap cannot; one by one can
            self.together = 1
            return None
        pairs = zip(tree_leaves(batched), tree_leaves(alone), strict=True)
        if not all(close(many[-1], one) for many, one in pairs):
            self.together = 1
            return None
        self.trials -= 1
        if not self.timed or seconds[0] < min(seconds[1:]):
            self.trials = 0
        elif not self.trials:
            self.together = 1
        return batched


def vmapped(function: Callable[..., Any], dims: Any) -> Callable[..., Any]:
    mapped = torch.func.vmap(function, in_dims=dims, randomness="error")

    def call(*args: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            return mapped(*args)

    return call


def _versions(core: nn.Module) -> dict[str, int]:
    """Return how often each parameter was changed in place; not of those that do not count it."""
    return {n: p._version for n, p in core.named_parameters() if not p.is_inference()}


def _wait(out: Any) -> None:
    leaf = next(iter(tree_leaves(out)))
    if leaf.is_cuda:
        torch.cuda.synchronize(leaf.device)


def check_unseeded(core: nn.Module) -> None:
    for path, module in core.named_modules():
        own = type(module).__module__.startswith("droplab.nn")
        if own and getattr(module, "seed", None) is not None:
            raise ArgumentError(
                f"sample: '{path or '.'}' has a seed of its own, which its masks would follow; "
                "build it without one"
            )
