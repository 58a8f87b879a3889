"""Monte Carlo samples of a model's output, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from math import ceil
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from droplab.errors import ArgumentError, quote
from droplab.numeric import whole
from droplab.placement import Applied, inner
from droplab.rng import check_seed
from droplab.uncertainty._awake import awake, unseeded
from droplab.uncertainty._blocks import ROWS, blocks, count_of, example_of, rows_of
from droplab.uncertainty._passes import Passes
from droplab.uncertainty._together import Together
from droplab.uncertainty.outputs import Take, checked, on_inputs

_GROUP, _BYTES = 64, 2**27
"""Passes that are tried together where `chunk` does not say how many: so many at most, and as many
as keep the largest output of a module below so many bytes."""

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
        batch_passes: Whether several passes are computed at once, by `vmap` or of the batch
            repeated, whichever is measured to be faster; not every model can. "auto": where that
            is also faster than one by one, or where `chunk` says how many.
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
            if batch_passes is False:
                size = 1
            elif most is None:
                size = min(_GROUP, count, max(1, _BYTES // max(1, largest)))
            else:
                size = min(count, most // rows_of(first))
            together = Together(forward, size, timed=most is None and batch_passes == "auto")
            shape: Any = None
            for number, block in enumerate(chain((first,), parts)):
                rows = rows_of(block)
                # as much as was done, where the data do not say how much it is
                to_do = ceil((total - done) / ROWS) if total is not None else max(1, number)
                with on_inputs(core, done, rows):
                    out = together.passes(block, number, count, to_do * count)
                shape = checked(out, rows, done, shape)
                yield out, rows
                done += rows
                if progress is not None:
                    progress(done, total)
        finally:
            applied.revert()


def check_unseeded(core: nn.Module) -> None:
    for path, module in core.named_modules():
        own = type(module).__module__.startswith("droplab.nn")
        if own and getattr(module, "seed", None) is not None:
            raise ArgumentError(
                f"sample: '{path or '.'}' has a seed of its own, which its masks would follow; "
                "build it without one"
            )
