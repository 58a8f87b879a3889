"""Eight blocks of validation examples, by which early stopping is chosen and measured apart."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch

from droplab.data._draw import dealt
from droplab.recipe import BLOCKS
from droplab.rng import stream_key

LEAST = 2 * BLOCKS
"""Fewer examples are not divided: a block of one says nothing."""


class Units(NamedTuple):
    """What belongs together among examples.

    Args:
        kind: "groups", which are not torn apart, or "time", of which the latest are validated on,
            and in whose order blocks are stretches.
        values: (N,), the group or the time of each example.
        name: What the user calls it.
    """

    kind: Literal["groups", "time"]
    values: np.ndarray
    name: str = ""


def why_no_blocks(count: int, units: Units | None = None) -> str:
    """Say why so many examples are not divided into blocks, in a sentence; "" if they are."""
    so = "so no word is said on early stopping"
    if count < LEAST:
        return f"{count} validation examples are too few for {BLOCKS} blocks of two, {so}."
    if units is not None and (have := len(np.unique(units.values))) < BLOCKS:
        what = "groups" if units.kind == "groups" else "times"
        return f"The validation examples are of {have} {what}, too few for {BLOCKS} blocks, {so}."
    return ""


def block_of_each(
    count: int, *, strata: np.ndarray | None = None, units: Units | None = None
) -> np.ndarray:
    """Return the block of each example, int64 (count,), from 0 to 7: the same for the same data.

    The blocks are as equal in size as can be: they differ by one example at most, save where
    groups or times stay together. None is empty.

    Args:
        count: How many examples there are, of which `why_no_blocks` has nothing to say.
        strata: (count,), classes of which every block gets its share, to one example.
        units: What stays together; strata do not count then.

    Randomness:
        Stream (0, "block", count): one permutation. No seed of an experiment is in it.

    Example:
        >>> np.bincount(block_of_each(100, strata=np.arange(100) % 2))
        array([13, 13, 13, 13, 12, 12, 12, 12])
        >>> block_of_each(16, units=Units("time", np.arange(16)))
        array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7])
    """
    generator = torch.Generator().manual_seed(stream_key(0, "block", count))
    shuffled = torch.randperm(count, generator=generator).numpy()
    if units is None:
        return dealt(shuffled, BLOCKS, strata)
    _, unit, sizes = np.unique(units.values, return_inverse=True, return_counts=True)
    if units.kind == "time":
        return np.searchsorted(_cuts(np.cumsum(sizes)), unit, side="right")
    # the largest group first, each into the block that is smallest by then
    rank = np.argsort(np.unique(unit[shuffled], return_index=True)[1], kind="stable")
    block = np.empty(len(sizes), dtype=np.int64)
    filled = np.zeros(BLOCKS, dtype=np.int64)
    for group in rank[np.argsort(-sizes[rank], kind="stable")]:
        block[group] = filled.argmin()
        filled[block[group]] += sizes[group]
    return block[unit]


def _cuts(ends: np.ndarray) -> list[int]:
    """Return how many times come before each block but the first, the blocks about equal."""
    cuts: list[int] = []
    for number in range(1, BLOCKS):
        least = cuts[-1] + 1 if cuts else 1
        most = len(ends) - (BLOCKS - number)
        off = np.abs(ends[least - 1 : most] - number * ends[-1] / BLOCKS)
        cuts.append(least + int(off.argmin()))
    return cuts
