"""How paired differences are judged: sign flips over seeds, or a corrected t over folds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._folds import LEAST, compare_folds, critical, enough_folds
from droplab.verdict._signflip import (
    LEVEL,
    Comparison,
    compare,
    enough,
    p_against,
    smallest_p,
)

Floats = NDArray[np.float64]

FEWEST = 6
"""Fewer seeds than this cannot reach 5 %: 2 / 2^5 is 6.25 %."""


@dataclass(frozen=True)
class Method(ABC):
    """What a verdict knows of its pairs: a pair is a seed, which with folds is one of them.

    Attributes:
        level: Coverage of the intervals.
        unit: What a pair is called.
    """

    level: float
    unit: ClassVar[str]

    @property
    def units(self) -> str:
        """The same for several."""
        return f"{self.unit}s"

    @abstractmethod
    def compare(self, differences: Floats) -> Sequence[Comparison]:
        """Judge arms at once, shape (arms, seeds), NaN where a pair is missing."""

    @abstractmethod
    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`, in the family of all pairs of arms."""

    @abstractmethod
    def enough(self, n: int) -> bool:
        """Return whether so many pairs can carry a verdict."""

    @abstractmethod
    def too_few(self, n: int) -> str:
        """Say why so many pairs cannot."""

    @abstractmethod
    def few(self, n: int) -> str:
        """Say the same as a caveat, a sentence with what to do."""

    @abstractmethod
    def count(self, n: int) -> str:
        """Write a number of pairs."""


@dataclass(frozen=True)
class OverSeeds(Method):
    """Sign flips: see `compare`."""

    unit: ClassVar[str] = "seed"

    def compare(self, differences: Floats) -> Sequence[Comparison]:
        """Judge arms at once."""
        return compare(differences, level=self.level)

    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`."""
        return p_against(values, best, self.level)

    def enough(self, n: int) -> bool:
        """Return whether so many pairs can reach the level at all."""
        return enough(n, self.level)

    def too_few(self, n: int) -> str:
        """Say why so many seeds cannot carry a verdict."""
        if n == 0:
            return "no seed in common with the baseline, so nothing to compare"
        if n == 1:
            return f"one seed cannot tell a difference from luck; at least {FEWEST} are needed"
        return (
            f"{n} seeds are too few for a verdict: their smallest possible p is "
            f"{smallest_p(n):.3g}; at least {FEWEST} are needed"
        )

    def few(self, n: int) -> str:
        """Say the same as a caveat."""
        return (
            f"{self.count(n).capitalize()}: the smallest p of an exact test is "
            f"{smallest_p(n):.3g}, so nothing can be said at {100 * (1 - self.level):.0f} %; run "
            f"at least {FEWEST} seeds, better 8."
        )

    def count(self, n: int) -> str:
        """Write a number of seeds."""
        return "1 seed" if n == 1 else f"{n} seeds"


@dataclass(frozen=True)
class OverFolds(Method):
    """The corrected t: see `compare_folds`.

    Attributes:
        folds: Folds of a repeat.
    """

    unit: ClassVar[str] = "fold"
    folds: int

    def compare(self, differences: Floats) -> Sequence[Comparison]:
        """Judge arms at once."""
        return compare_folds(differences, self.folds, level=self.level)

    def against(self, values: Floats, best: int) -> list[float]:
        """Return the p of every arm against arm `best`."""
        there = np.isfinite(values)
        both = there.astype(np.int64) @ there.T.astype(np.int64)
        pairs = int(np.triu(both >= LEAST, 1).sum())
        differences = np.where(there & there[best], values - values[best], math.nan)
        found = compare_folds(differences, self.folds, level=self.level, family=max(1, pairs))
        return [each.p if self.enough(each.n) else 1.0 for each in found]

    def enough(self, n: int) -> bool:
        """Return whether so many folds can carry a verdict."""
        return enough_folds(n)

    def too_few(self, n: int) -> str:
        """Say why so many folds cannot carry a verdict."""
        if n == 0:
            return "no fold in common with the baseline, so nothing to compare"
        verb = "is" if n == 1 else "are"
        return f"{self.count(n)} {verb} too few for a verdict; at least {LEAST} are needed"

    def few(self, n: int) -> str:
        """Say the same as a caveat."""
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
        now = critical(n - 1, family, self.level) * math.sqrt(1 / n + 1 / (self.folds - 1))
        many = 10_000 * self.folds
        then = critical(many - 1, family, self.level) * math.sqrt(1 / many + 1 / (self.folds - 1))
        return then / now


def method_of(folds: int | None, level: float = LEVEL) -> Method:
    """Return how a run is judged: with so many folds a repeat, or None, over seeds."""
    return OverSeeds(level) if folds is None else OverFolds(level, folds)


def units_text(n: int, folds: int | None) -> str:
    """Write how many pairs a run has, of so many folds a repeat, or of seeds.

    Example:
        >>> units_text(8, None), units_text(20, folds=10)
        ('8 seeds', '10 folds x 2 repeats')
    """
    return method_of(folds).count(n)
