"""Which rows are trained on, validated on, and kept for the test; and which fold each is in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from droplab.errors import DataError
from droplab.rng import stream_key


class Rows(NamedTuple):
    """Numbers of the rows of each split, int64."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def draw(
    count: int,
    *,
    test: int,
    validation: int,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
    seed: int | None = None,
) -> Rows:
    """Return the rows of each split, the same ones for the same data and seed.

    Args:
        count: How many rows there are.
        test: How many are kept for the test, about, where groups or times stay together.
        validation: How many are validated on, likewise.
        strata: (count,), classes of which every split gets its share; None: drawn without.
        groups: (count,), what must not be torn apart: a group is in one split.
        time: (count,), numbers: the latest rows are the test, those before them the validation,
            and rows of the same time stay together.
        seed: Another seed has other rows; None: those that all seeds have.

    Returns:
        Three sets that share no row. The first so many rows of each are a fair sample of it; by
        time they are the latest.

    Raises:
        DataError: If there is nothing left to train on, or too few groups or times.

    Randomness:
        Stream (0, "split", count), or with a seed (seed, "resample", count): one permutation.

    Example:
        >>> rows = draw(10, test=2, validation=3, time=np.arange(10))
        >>> sorted(rows.train.tolist()), sorted(rows.test.tolist())
        ([0, 1, 2, 3, 4], [8, 9])
    """
    key = stream_key(0, "split", count) if seed is None else stream_key(seed, "resample", count)
    generator = torch.Generator().manual_seed(key)
    shuffled = torch.randperm(count, generator=generator).numpy()
    units = time if groups is None else groups
    if units is None:
        order = _stratified(shuffled, np.zeros(count) if strata is None else strata)
        cuts = (test, test + validation)
    else:
        if groups is None:
            _, unit = np.unique(units, return_inverse=True)
            place = unit.max() - unit
        else:
            place = _places(groups, shuffled)
        order = shuffled[np.argsort(place[shuffled], kind="stable")]
        ends = np.cumsum(np.bincount(place))
        end = _cut(ends, test)
        cuts = (end, _cut(ends, end + validation) if validation else end)
    if cuts[1] >= count:
        what = "groups" if groups is not None else "times" if time is not None else "rows"
        have = count if units is None else len(np.unique(units))
        raise DataError(
            f"data: {have} {what} leave none to train on after {validation} rows to validate on"
            + (f" and {test} to test on" if test else "")
            + "; give smaller numbers in data.validation and data.test"
        )
    return Rows(order[cuts[1] :], order[cuts[0] : cuts[1]], order[: cuts[0]])


def fold_rows(
    count: int,
    folds: int,
    *,
    repeat: int = 0,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the fold of each row, int64 (count,), from 0: the same ones for the same repeat.

    Args:
        count: How many rows there are.
        folds: How many folds; their sizes differ by one row at most, save with groups.
        repeat: Another repeat has other folds.
        strata: (count,), classes of which every fold gets its share, to one row; None: drawn
            without.
        groups: (count,), what must not be torn apart: a group is in one fold. They are taken in
            random order, each into the fold that has the fewest rows by then.

    Raises:
        DataError: If there are more folds than rows, or than groups.

    Randomness:
        Stream (0, "fold", repeat): one permutation.

    Example:
        >>> fold = fold_rows(6, 3, strata=np.array([0, 0, 0, 1, 1, 1]))
        >>> sorted(fold[:3].tolist()), sorted(fold[3:].tolist())
        ([0, 1, 2], [0, 1, 2])
    """
    have = count if groups is None else len(np.unique(groups))
    if have < folds:
        what = "rows" if groups is None else "groups"
        raise DataError(
            f"data.folds: expected at most as many folds as there are {what}, {have}, got {folds}"
        )
    generator = torch.Generator().manual_seed(stream_key(0, "fold", repeat))
    shuffled = torch.randperm(count, generator=generator).numpy()
    if groups is None:
        return dealt(shuffled, folds, strata)
    place = _places(groups, shuffled)
    sizes = [0] * folds
    fold_of: list[int] = []
    for size in np.bincount(place).tolist():
        fold_of.append(sizes.index(min(sizes)))
        sizes[fold_of[-1]] += size
    return np.array(fold_of)[place]


def dealt(shuffled: np.ndarray, parts: int, strata: np.ndarray | None) -> np.ndarray:
    """Return the part of each row, dealt one by one in the order `shuffled`, class by class."""
    order = shuffled
    if strata is not None:
        order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order)) % parts
    return found


def _places(groups: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """Return the place of each row's group, the groups in the order of a random member each."""
    _, group = np.unique(groups, return_inverse=True)
    _, first = np.unique(group[shuffled], return_index=True)
    return np.argsort(np.argsort(first))[group]


def _stratified(shuffled: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the rows such that the first so many have every stratum in its share, about."""
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    grouped = np.argsort(stratum[shuffled], kind="stable")
    rank = np.empty(len(shuffled), dtype=np.int64)
    begins = np.cumsum(counts) - counts
    rank[grouped] = np.arange(len(shuffled)) - np.repeat(begins, counts)
    share = (rank + 0.5) / counts[stratum[shuffled]]
    return shuffled[np.argsort(share, kind="stable")]


def _cut(ends: np.ndarray, wanted: int) -> int:
    """Return the first end of a unit at which so many rows have come."""
    if not wanted:
        return 0
    return int(ends[min(int(np.searchsorted(ends, wanted)), len(ends) - 1)])
