"""The splits of each seed of a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from droplab.data._draw import fold_rows
from droplab.data.dataset import AnySplit, Splits
from droplab.data.split import Split

Parts = tuple[Split, Split, AnySplit | None]
"""Examples to train, validate and test on."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Returns the splits of a seed: seed s validates on fold s mod `count` of repeat s div `count`.

    It trains on the other folds of that repeat. Rows stay in their order, so that anybody can
    make the same splits by hand from `rows`.

    Args:
        count: How many folds a repeat has.
        size: How many rows are divided into them.
        parts: Returns the examples for the numbers of the rows to train and to validate on, as a
            model takes them. It can be pickled.
        strata: (size,), classes of which every fold gets its share; None: drawn without.
        groups: (size,), what must not be torn apart; None: nothing.
        notes: What the user should know, a sentence each.
    """

    count: int
    size: int
    parts: Callable[[np.ndarray, np.ndarray], Parts]
    strata: np.ndarray | None = None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def rows(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the rows that a seed is trained and validated on, ascending."""
        repeat, fold = divmod(seed, self.count)
        of = fold_rows(self.size, self.count, repeat=repeat, strata=self.strata, groups=self.groups)
        return np.flatnonzero(of != fold), np.flatnonzero(of == fold)

    def __call__(self, seed: int) -> Splits:
        """Return the splits of a seed."""
        return Splits(*self.parts(*self.rows(seed)), "train", self.notes, self)


def folds_of(
    whole: Split, count: int, test: AnySplit | None = None, notes: Sequence[str] = ()
) -> Folds:
    """Return the folds of examples in memory, stratified where their targets are classes.

    Raises:
        DataError: If there are more folds than examples.

    Example:
        >>> whole = Split(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> [sorted(folds_of(whole, 3)(seed).validation.targets.tolist()) for seed in range(3)]
        [[0, 1], [0, 1], [0, 1]]
    """
    # a copy: sent to another process, a tensor moves, and what shared its memory is left behind
    strata = whole.targets.numpy().copy() if whole.has_classes else None
    told = told_of(len(whole), count, strata, None)
    parts = partial(_selected, whole, test)
    found = Folds(count, len(whole), parts, strata, None, (*notes, told))
    found.rows(0)  # too many folds are told at once
    return found


def _selected(
    whole: Split, test: AnySplit | None, train: np.ndarray, validation: np.ndarray
) -> Parts:
    chosen = [whole.select(torch.from_numpy(rows)) for rows in (train, validation)]
    return chosen[0], chosen[1], test


def told_of(size: int, count: int, strata: np.ndarray | None, groups: str | None) -> str:
    """Say how folds are drawn, in a sentence.

    Args:
        size: How many rows are divided.
        count: Into how many folds.
        strata: Their classes, if these count.
        groups: Name of the column whose values stay together, if one does.
    """
    how = "each class in its share" if strata is not None else "at random"
    each = f"{size // count}" if size % count == 0 else f"{size // count} or {size // count + 1}"
    if groups is not None:
        how, each = f"each {groups} whole", f"about {size // count}"
    return (
        f"{size} examples in {count} folds of {each}, {how}, drawn anew for every repeat: each "
        "seed validates on one fold and trains on the others."
    )
