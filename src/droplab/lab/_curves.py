"""The curves of a run: every metric's mean and spread over seeds, for each arm and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import Recipe
from droplab.results import EpochRow

Point = list[Any]
"""[arm index, epoch, count, [means], [standard deviations]], in the order of the metrics."""


class Curves:
    """What a chart shows of a run's rows.

    Args:
        recipe: The recipe that the rows follow.
        rows: The rows; those of another recipe are left out.
        metrics: Names of what was measured; None for what the recipe says.
    """

    def __init__(
        self,
        recipe: Recipe,
        rows: Iterable[EpochRow] = (),
        metrics: Iterable[str] | None = None,
    ) -> None:
        self._metrics = tuple(recipe.metrics if metrics is None else metrics)
        self._arms = {arm.name: at for at, arm in enumerate(recipe.arms)}
        seeds = {seed: at for at, seed in enumerate(recipe.seeds)}
        shape = (len(self._arms), recipe.epochs, len(seeds))
        self._there = np.zeros(shape, dtype=bool)
        self._values = np.full((*shape, len(self._metrics)), math.nan)
        for row in rows:
            if row.arm in self._arms and row.seed in seeds and 1 <= row.epoch <= recipe.epochs:
                place = (self._arms[row.arm], row.epoch - 1, seeds[row.seed])
                self._there[place] = True
                self._values[place] = [row.values.get(name, math.nan) for name in self._metrics]

    def changed_since(self, earlier: Curves) -> list[Point]:
        """Return the points that have other rows than `earlier`, curves of the same recipe."""
        places = (self._there != earlier._there).any(axis=2)
        arms, epochs = np.nonzero(places)
        means, spreads = _moments(self._values[places])
        counts = self._there[places].sum(axis=1)
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
            return {name: plain(values[arm, :last, at]) for at, name in enumerate(self._metrics)}

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
