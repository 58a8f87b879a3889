"""How paired differences are judged: sign flips over seeds, or a corrected t over folds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import DataSpec
from droplab.verdict._folds import LEAST, compare_folds, critical, enough_folds, width
from droplab.verdict._signflip import (
    LEVEL,
    Comparison,
    compare,
    enough,
    fewest,
    p_against,
    smallest_p,
)

Floats = NDArray[np.float64]

TOO_FEW, SPENT, UNSTABLE = "too few seeds", "seeds added", "unstable"
NO_WORD = (TOO_FEW, SPENT, UNSTABLE)
"""The words that say nothing of a difference."""


@dataclass(frozen=True)
class Method(ABC):
    """What a verdict knows of its pairs: a pair is a seed, which with folds is one of them.

    Attributes:
        level: Coverage of the intervals.
        unit: What a pair is called.
        spent: Why these pairs are shown without a word, however many they are; "" if they carry
            one.
    """

    level: float
    unit: ClassVar[str]
    spent: str = field(default="", kw_only=True)

    @property
    def rows_vary(self) -> bool:
        """Whether pairs are of other examples each, so that they tell of examples, too."""
        return False

    @property
    def units(self) -> str:
        """The same for several."""
        return f"{self.unit}s"

    def compare(self, differences: Floats) -> Sequence[Comparison]:
        """Judge arms at once, shape (arms, seeds), NaN where a pair is missing."""
        found = self._compare(differences)
        if not self.spent:
            return found
        return [replace(each, low=-math.inf, high=math.inf, p=1.0) for each in found]

    @abstractmethod
    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`, in the family of all pairs of arms."""

    def enough(self, n: int) -> bool:
        """Return whether so many pairs can carry a verdict."""
        return not self.spent and self._enough(n)

    def too_few(self, n: int) -> str:
        """Say why so many pairs cannot."""
        return self.spent if n and self.spent else self._too_few(n)

    def few(self, n: int) -> str:
        """Say the same as a caveat, a sentence with what to do."""
        if not self.spent:
            return self._few(n)
        return (
            f"{self.spent[0].upper()}{self.spent[1:]}. Seeds added to it are shown without a word; "
            "judge their run alone, as a new experiment (docs/verdict.md)."
        )

    @property
    def no_word(self) -> str:
        """The word for an arm whose pairs carry none."""
        return SPENT if self.spent else TOO_FEW

    @abstractmethod
    def _compare(self, differences: Floats) -> Sequence[Comparison]: ...

    @abstractmethod
    def _enough(self, n: int) -> bool: ...

    @abstractmethod
    def _too_few(self, n: int) -> str: ...

    @abstractmethod
    def _few(self, n: int) -> str: ...

    @abstractmethod
    def count(self, n: int) -> str:
        """Write a number of pairs."""


@dataclass(frozen=True)
class OverSeeds(Method):
    """Sign flips: see `compare`."""

    unit: ClassVar[str] = "seed"
    resampled: bool = False

    @property
    def rows_vary(self) -> bool:
        """Whether each seed has drawn its examples."""
        return self.resampled

    def _compare(self, differences: Floats) -> Sequence[Comparison]:
        return compare(differences, level=self.level)

    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`."""
        return p_against(values, best, self.level)

    def _enough(self, n: int) -> bool:
        return enough(n, self.level)

    def _too_few(self, n: int) -> str:
        if n == 0:
            return "no seed in common with the baseline, so nothing to compare"
        if n == 1:
            return (
                "one seed cannot tell a difference from luck; at least "
                f"{fewest(self.level)} are needed"
            )
        return (
            f"{n} seeds are too few for a verdict: their smallest possible p is "
            f"{smallest_p(n):.3g}; at least {fewest(self.level)} are needed"
        )

    def _few(self, n: int) -> str:
        return (
            f"{self.count(n).capitalize()}: the smallest p of an exact test is "
            f"{smallest_p(n):.3g}, so nothing can be said at {100 * (1 - self.level):.2g} %; run "
            f"at least {fewest(self.level)} seeds, better 8."
        )

    def count(self, n: int) -> str:
        """Write a number of seeds."""
        return "1 seed" if n == 1 else f"{n} seeds"


@dataclass(frozen=True)
class OverFolds(Method):
    """The corrected t: see `compare_folds`.

    Attributes:
        folds: Folds of a repeat.
        held: Whether early stopping has one of them to choose by.
    """

    unit: ClassVar[str] = "fold"
    folds: int
    held: bool = False

    @property
    def rows_vary(self) -> bool:
        """That each fold has its own."""
        return True

    def _compare(self, differences: Floats) -> Sequence[Comparison]:
        return compare_folds(differences, self.folds, level=self.level, held=self.held)

    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`."""
        there = np.isfinite(values)
        both = there.astype(np.int64) @ there.T.astype(np.int64)
        pairs = int(np.triu(both >= LEAST, 1).sum())
        differences = np.where(there & there[best], values - values[best], math.nan)
        found = compare_folds(
            differences, self.folds, level=self.level, family=max(1, pairs), held=self.held
        )
        return [each.p if self.enough(each.n) else 1.0 for each in found]

    def _enough(self, n: int) -> bool:
        return enough_folds(n)

    def _too_few(self, n: int) -> str:
        if n == 0:
            return "no fold in common with the baseline, so nothing to compare"
        verb = "is" if n == 1 else "are"
        return f"{self.count(n)} {verb} too few for a verdict; at least {LEAST} are needed"

    def _few(self, n: int) -> str:
        return (
            f"{self.count(n).capitalize()}: differences of so few folds tell too little of how "
            f"they scatter; run at least {LEAST}, better 10 folds, or more repeats."
        )

    def count(self, n: int) -> str:
        """Write a number of folds, and of repeats where these are whole."""
        repeats, rest = divmod(n, self.folds)
        if rest or repeats < 2:
            return "1 fold" if n == 1 else f"{n} folds"
        return f"{self.folds} folds x {repeats} repeats"

    def narrower(self, n: int, family: int) -> float:
        """Return how wide intervals would be with any number of repeats, compared with n folds."""
        now, then = (
            critical(pairs - 1, family, self.level) * width(pairs, self.folds, held=self.held)
            for pairs in (n, 10_000 * self.folds)
        )
        return then / now


def method_of(data: DataSpec, level: float = LEVEL, *, spent: str = "") -> Method:
    """Return how a run on these data is judged: over folds, or over seeds."""
    if data.folds is None:
        return OverSeeds(level, data.resample, spent=spent)
    return OverFolds(level, data.folds, bool(data.stop_on_fold), spent=spent)


def units_text(n: int, folds: int | None) -> str:
    """Write how many pairs a run has, of so many folds a repeat, or of seeds.

    Example:
        >>> units_text(8, None), units_text(20, folds=10)
        ('8 seeds', '10 folds x 2 repeats')
    """
    return (OverSeeds(LEVEL) if folds is None else OverFolds(LEVEL, folds)).count(n)
