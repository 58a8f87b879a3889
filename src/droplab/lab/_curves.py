"""The curves of a run: every metric's mean and spread over seeds, for each arm and epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import METRICS, Recipe

Point = list[Any]
"""[arm index, epoch, count, [means], [standard deviations]], in the order of `METRICS`."""


class Curves:
    """Rows as they come in, and what a chart shows of them.

    Args:
        recipe: The recipe that the rows follow.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._arms = {arm.name: at for at, arm in enumerate(recipe.arms)}
        self._seeds = {seed: at for at, seed in enumerate(recipe.seeds)}
        self._epochs = recipe.epochs
        shape = (len(self._arms), recipe.epochs, len(self._seeds), len(METRICS))
        self._values = np.full(shape, math.nan)
        self._there = np.zeros(shape[:3], dtype=bool)
        self._changed: set[tuple[int, int]] = set()

    def add(self, arm: str, seed: int, epoch: int, values: Mapping[str, float | None]) -> bool:
        """Take one row; return whether it was new. What is of another recipe is left out."""
        if arm not in self._arms or seed not in self._seeds or not 1 <= epoch <= self._epochs:
            return False
        place = (self._arms[arm], epoch - 1, self._seeds[seed])
        if self._there[place]:
            return False
        self._there[place] = True
        numbers = (values.get(name) for name in METRICS)
        self._values[place] = [math.nan if number is None else number for number in numbers]
        self._changed.add(place[:2])
        return True

    def copy(self) -> Curves:
        """Return the same values, to be read while rows go on to come in."""
        twin = copy.copy(self)
        twin._values, twin._there = self._values.copy(), self._there.copy()
        return twin

    def take_changed(self) -> list[Point]:
        """Return the points that changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return self.points(changed)

    def points(self, places: Iterable[tuple[int, int]]) -> list[Point]:
        """Return the points at some (arm index, epoch index)."""
        chosen = np.array(list(places), dtype=np.intp).reshape(-1, 2)
        arms, epochs = chosen[:, 0], chosen[:, 1]
        means, spreads = _moments(self._values[arms, epochs])
        counts = self._there[arms, epochs].sum(axis=1)
        return [
            [int(arm), int(epoch) + 1, int(count), plain(mean), plain(spread)]
            for arm, epoch, count, mean, spread in zip(
                arms, epochs, counts, means, spreads, strict=True
            )
        ]

    def whole(self) -> dict[str, Any]:
        """Return every curve, up to the last epoch of which there is a row."""
        means, spreads = _moments(self._values)
        counts = self._there.sum(axis=2)
        seen = np.flatnonzero(counts.any(axis=0))
        last = int(seen[-1]) + 1 if len(seen) else 0

        def by_metric(values: NDArray[np.float64], arm: int) -> dict[str, list[float | None]]:
            return {name: plain(values[arm, :last, at]) for at, name in enumerate(METRICS)}

        return {
            "curves": {name: by_metric(means, at) for name, at in self._arms.items()},
            "bands": {name: by_metric(spreads, at) for name, at in self._arms.items()},
            "counts": {name: counts[at, :last].tolist() for name, at in self._arms.items()},
        }


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation over the seeds, the axis before the last; else NaN."""
    sound = np.isfinite(values)
    count = sound.sum(axis=-2)
    filled = np.where(sound, values, 0.0)
    mean = np.where(count > 0, filled.sum(axis=-2) / np.maximum(count, 1), math.nan)
    offsets = np.where(sound, values - mean[..., None, :], 0.0)
    variance = (offsets**2).sum(axis=-2) / np.maximum(count - 1, 1)
    return mean, np.where(count > 1, np.sqrt(variance), math.nan)


def plain(values: Iterable[float]) -> list[float | None]:
    """Return numbers for JSON, six digits of each; None for what is not finite.

    Example:
        >>> plain([0.123456789, float("nan")])
        [0.123457, None]
    """
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
