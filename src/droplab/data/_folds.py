"""The splits of each seed, where each has its own: of a cross-validation, or drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from droplab.data._blocks import Units
from droplab.data._draw import draw, fold_rows
from droplab.data.dataset import AnySplit, Splits
from droplab.data.split import Split
from droplab.errors import DataError

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
        held: Whether the fold after the one that is validated on is not trained on: early stopping
            chooses by it.
    """

    count: int
    size: int
    parts: Callable[[np.ndarray, np.ndarray], Parts]
    strata: np.ndarray | None = None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    held: bool = False

    def _fold_of_each(self, seed: int) -> tuple[np.ndarray, int]:
        repeat, fold = divmod(seed, self.count)
        of = fold_rows(self.size, self.count, repeat=repeat, strata=self.strata, groups=self.groups)
        return of, fold

    def rows(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the rows that a seed is trained and validated on, ascending."""
        of, fold = self._fold_of_each(seed)
        kept = of != (fold + 1) % self.count if self.held else True
        return np.flatnonzero((of != fold) & kept), np.flatnonzero(of == fold)

    def held_rows(self, seed: int) -> np.ndarray:
        """Return the numbers of the rows by which early stopping chooses; none without such."""
        of, fold = self._fold_of_each(seed)
        return np.flatnonzero((of == (fold + 1) % self.count) & self.held)

    def __call__(self, seed: int) -> Splits:
        """Return the splits of a seed."""
        train, validation = self.rows(seed)
        units = None if self.groups is None else Units("groups", self.groups[validation])
        # together, since what the training rows tell of columns is told to both
        both = np.concatenate([validation, self.held_rows(seed)])
        chosen, others, test = self.parts(train, both)
        own, held = others.subset(0, len(validation)), others.subset(len(validation), len(both))
        stopping = held if self.held else None
        return Splits(chosen, own, test, "train", self.notes, self, units, stopping)


def folds_of(
    whole: Split,
    count: int,
    test: AnySplit | None = None,
    notes: Sequence[str] = (),
    units: Units | None = None,
    *,
    held: bool = False,
) -> Folds:
    """Return the folds of examples in memory, stratified where their targets are classes.

    Where they belong to `units`, these are not torn apart instead.

    Raises:
        DataError: If there are more folds than examples.

    Example:
        >>> whole = Split(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> [sorted(folds_of(whole, 3)(seed).validation.targets.tolist()) for seed in range(3)]
        [[0, 1], [0, 1], [0, 1]]
    """
    # a copy: sent to another process, a tensor moves, and what shared its memory is left behind
    strata = whole.targets.numpy().copy() if whole.has_classes else None
    groups = None if units is None else units.values[: len(whole)]
    told = told_of(len(whole), count, strata, None if units is None else units.name, held=held)
    parts = partial(_selected, whole, test)
    found = Folds(count, len(whole), parts, strata, groups, (*notes, told), held)
    found.rows(0)  # too many folds are told at once
    return found


@dataclass(frozen=True, eq=False)
class Resampled:
    """Returns the splits of a seed, whose training and validation rows are drawn with that seed.

    No row is in both, nor twice in one. Rows stay in their order, as those of folds do.

    Args:
        size: How many rows are drawn from.
        train: How many are trained on; None: all that are not validated on.
        validation: How many are validated on, about, where groups stay together.
        parts, strata, groups, notes: As those of `Folds`.
    """

    size: int
    train: int | None
    validation: int
    parts: Callable[[np.ndarray, np.ndarray], Parts]
    strata: np.ndarray | None = None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def rows(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the rows that a seed is trained and validated on, ascending.

        Raises:
            DataError: If too few are left to train on.
        """
        drawn = draw(
            self.size,
            test=0,
            validation=self.validation,
            strata=self.strata,
            groups=self.groups,
            seed=seed,
        )
        train = drawn.train[: self.train]
        if self.train is not None and len(train) < self.train:
            raise DataError(
                f"data.train: {len(train)} examples are left with seed {seed}, fewer than the "
                f"{self.train} asked for; give smaller numbers in data.train or data.validation"
            )
        return np.sort(train), np.sort(drawn.validation)

    def __call__(self, seed: int) -> Splits:
        """Return the splits of a seed."""
        train, validation = self.rows(seed)
        units = None if self.groups is None else Units("groups", self.groups[validation])
        return Splits(*self.parts(train, validation), "train", self.notes, self, units)


def resampled_of(
    whole: Split,
    train: int | None,
    validation: int,
    test: AnySplit | None = None,
    notes: Sequence[str] = (),
    units: Units | None = None,
) -> Resampled:
    """Return the splits of each seed of examples in memory, by class where targets are classes.

    Where they belong to `units`, these are not torn apart instead.

    Example:
        >>> whole = Split(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> found = resampled_of(whole, None, 2)
        >>> [sorted(found(seed).validation.targets.tolist()) for seed in range(3)]
        [[0, 1], [0, 1], [0, 1]]
    """
    # a copy, as in `folds_of`
    strata = whole.targets.numpy().copy() if whole.has_classes else None
    groups, name = (None, None) if units is None else (units.values, units.name)
    told = resampled_told(len(whole), train, validation, strata is not None, name)
    parts = partial(_selected, whole, test)
    return Resampled(len(whole), train, validation, parts, strata, groups, (*notes, told))


def resampled_told(
    size: int, train: int | None, validation: int, by_class: bool, groups: str | None
) -> str:
    """Say how examples are drawn anew with each seed, in a sentence; arguments as in `told_of`."""
    how = ", each class in its share" if by_class else ""
    about = ""
    if groups is not None:
        how, about = f", each {groups} whole", "about "
    others = "the others" if train is None else f"{train} of the others"
    return (
        f"With each seed {about}{validation} of {size} examples are drawn to validate on and "
        f"{others} to train on, the same ones for all arms{how}."
    )


def _selected(
    whole: Split, test: AnySplit | None, train: np.ndarray, validation: np.ndarray
) -> Parts:
    chosen = [whole.select(torch.from_numpy(rows)) for rows in (train, validation)]
    return chosen[0], chosen[1], test


def told_of(
    size: int, count: int, strata: np.ndarray | None, groups: str | None, *, held: bool = False
) -> str:
    """Say how folds are drawn, in a sentence.

    Args:
        size: How many rows are divided.
        count: Into how many folds.
        strata: Their classes, if these count.
        groups: Name of the column whose values stay together, if one does.
        held: Whether early stopping has a fold of its own to choose by.
    """
    others = "stops early by the next and trains on the others" if held else "trains on the others"
    how = "each class in its share" if strata is not None else "at random"
    each = f"{size // count}" if size % count == 0 else f"{size // count} or {size // count + 1}"
    if groups is not None:
        how, each = f"each {groups} whole", f"about {size // count}"
    return (
        f"{size} examples in {count} folds of {each}, {how}, drawn anew for every repeat: each "
        f"seed validates on one fold{',' if held else ' and'} {others}."
    )
