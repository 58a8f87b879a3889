"""A sweep over one rate: whether the metric rises, falls or bends with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import Recipe

Floats = NDArray[np.float64]

FEWEST = 4
"""Rates, the baseline's 0 among them, from which on a trend is looked for."""

SHAPES = ("linear", "quadratic")


def one_rate(recipe: Recipe) -> list[int]:
    """Return the arms in the order of their rate if they differ in one rate alone; else nothing.

    Example:
        >>> from droplab.recipe import load
        >>> one_rate(load("fashion-tutorial"))
        []
    """
    places: list[tuple[float, int]] = []
    sites: set[tuple[str, ...]] = set()
    for i, arm in enumerate(recipe.arms):
        if arm.name == recipe.baseline.name:
            places.append((0.0, i))
            continue
        rates = set(arm.rates.values())
        if arm.existing or arm.schedule is not None or len(rates) != 1 or not all(rates):
            return []
        sites.add((arm.kind or "", *sorted(arm.rates)))
        places.append((rates.pop(), i))
    different = len({rate for rate, _ in places}) == len(places)
    if recipe.baseline.existing or len(sites) != 1 or not different or len(places) < FEWEST:
        return []
    return [i for _, i in sorted(places)]


def contrasts(values: Floats, order: Sequence[int]) -> Floats:
    """Return the linear and the quadratic contrast over the ranks of the rates, for every seed.

    Args:
        values: A metric, shape (arms, seeds); NaN where there is none.
        order: The arms in the order of their rate.

    Returns:
        Shape (2, seeds); NaN where an arm lacks the seed. Positive where the metric rises with the
        rate, and where it is larger at both ends than in the middle.
    """
    ranks = np.arange(len(order)) - (len(order) - 1) / 2
    bend = ranks**2 - (ranks**2).mean()
    rows = np.where(np.isfinite(values), values, np.nan)[list(order)]
    return np.stack([weights / np.abs(weights).sum() @ rows for weights in (ranks, bend)])
