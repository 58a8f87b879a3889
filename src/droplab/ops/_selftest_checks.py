"""What the self-test checks on one device, eager or compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from droplab.ops import rank as ranks
from droplab.ops._dropout import dropout
from droplab.ops._keys import make_key
from droplab.ops._noise import keep_mask
from droplab.ops.layout import BLOCK, RUN

Call = Callable[[Tensor, float, Tensor], Tensor]
"""(x, p, key) -> dropout of x, eager or compiled."""

RATES = (0.1, 0.5, 0.9)
LAGS = {"next element": 1, "next lane": RUN, "next block": BLOCK}
SCORES = len(RATES) + len(LAGS) + 4
"""Random scores for each device and mode: what the false-alarm rate is shared among."""


def eager(x: Tensor, p: float, key: Tensor) -> Tensor:
    """Call dropout as it is."""
    return dropout(x, p, key=key)


def exact_checks(call: Call, device: torch.device, seed: int) -> Iterator[tuple[str, int]]:
    """Yield (name, number of wrong elements); right is 0."""
    key = make_key(seed)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.linspace(1, 2, 3 * BLOCK + 1001, dtype=torch.float64).to(device, dtype)
        name = str(dtype).removeprefix("torch.")
        leaf = x.clone().requires_grad_()
        out = call(leaf, 0.3, key)
        (grad,) = torch.autograd.grad(out, leaf, torch.ones_like(out))
        wrong = int(((out.detach() == 0) != (grad == 0)).sum())
        yield f"backward mask = forward mask ({name})", wrong
        truth = dropout(x, 0.3, key=key, backend="reference")
        yield f"output = reference ({name})", int((out.detach() != truth).sum())
        yield f"output with p = 0 ({name})", int((call(x, 0.0, key) != x).sum())
        yield f"output with p = 1 ({name})", int((call(x, 1.0, key) != 0).sum())
    at_home = keep_mask((BLOCK + 77,), 0.3, key=key, device="cpu", backend="reference")
    there = keep_mask((BLOCK + 77,), 0.3, key=key, device=device)
    yield "mask = mask on the CPU", int((at_home != there.cpu()).sum())


def drawn_checks(
    compiled: Callable[[Tensor], Tensor], device: torch.device
) -> Iterator[tuple[str, int]]:
    """Yield (name, number of wrong elements) for `two_layers`, compiled, which draws its keys."""
    x = torch.ones(BLOCK + 77, device=device, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = two_layers(x)
        torch.manual_seed(1)
        out = compiled(x)
        again = compiled(x)
    yield "compiled = eager after manual_seed", int((plain != out).sum())
    yield "two layers, two masks", int(torch.equal(out[0], out[1]))
    yield "another call, another mask", int(torch.equal(out, again))


def two_layers(x: Tensor) -> Tensor:
    """Return two dropouts of x by two drawn keys."""
    return torch.stack((dropout(x, 0.3), dropout(x, 0.3)))


def random_scores(
    call: Call, device: torch.device, n: int, seed: int
) -> Iterator[tuple[str, float]]:
    """Yield (name, score); a score is standard normal if the masks are right."""
    ones = torch.ones(n, device=device)

    def mask(key: Tensor, p: float = 0.5) -> Tensor:
        return call(ones, p, key) != 0

    for p in RATES:
        kept = int(mask(make_key(seed), p).sum())
        yield f"keep rate, p = {p}", (kept - n * (1 - p)) / math.sqrt(n * p * (1 - p))
    first = mask(make_key(seed))
    for name, lag in LAGS.items():
        yield f"independence of the {name}", _agreement(first[:-lag], first[lag:])
    yield "independence of the next call", _agreement(first, mask(make_key(seed, call=1)))
    yield "independence of the next seed", _agreement(first, mask(make_key(seed + 1)))
    yield (
        "independence of another layer",
        _agreement(mask(make_key(seed, site="fc1")), mask(make_key(seed, site="fc2"))),
    )
    with _as_rank(0):
        here = mask(make_key(seed))
    with _as_rank(1):
        there = mask(make_key(seed))
    yield "independence of the next rank", _agreement(here, there)


def _agreement(a: Tensor, b: Tensor) -> float:
    """Return the score of how often two masks with p = 1/2 agree; one half is right."""
    n = a.numel()
    return (int((a == b).sum()) - n / 2) / math.sqrt(n / 4)


@contextmanager
def _as_rank(rank: int) -> Iterator[None]:
    before = ranks._explicit
    ranks.set_rank(rank)
    try:
        yield
    finally:
        ranks.set_rank(before)
