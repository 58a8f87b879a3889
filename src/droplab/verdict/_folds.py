"""The corrected t test for differences of folds, which share training rows."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.errors import ArgumentError
from droplab.verdict._signflip import LEVEL, Comparison, checked

LEAST = 5
"""Fewer folds than this, over all repeats, carry no verdict."""

Floats = NDArray[np.float64]

_EQUAL = 1e-9
_STEPS = 200  # halvings of an interval of doubles


def enough_folds(n: int) -> bool:
    """Return whether so many folds, over all repeats, carry a verdict."""
    return n >= LEAST


def compare_folds(
    differences: ArrayLike,
    folds: int,
    *,
    level: float = LEVEL,
    family: int | None = None,
    held: bool = False,
) -> tuple[Comparison, ...]:
    r"""Test the differences of several arms over the folds of a repeated cross-validation.

    Folds share training rows, and repeats share all rows, so the mean of J differences with
    variance s^2 varies by more than s^2 / J. It is taken to vary by

        `(1 / J + 1 / (folds - 1)) s^2`,

    where 1 / (folds - 1) is the ratio of validation to training rows, and its ratio to the root
    of that is compared with Student's t of J - 1 degrees of freedom. Over m arms at once
    `p = 1 - (1 - p_a)^m`, and the interval of an arm holds every effect that this does not refuse:
    it excludes 0 exactly when p <= 1 - level.

    An arm with too few folds is judged by itself and is no part of m, as in `compare`.

    Args:
        differences: Arm minus baseline, shape (arms, J); NaN where an arm lacks a fold.
        folds: Folds of a repeat, at least 2.
        level: Coverage of the intervals, over all arms at once.
        family: m, where more is compared than is given here; None: the arms that have the folds.
        held: Whether one fold more is not trained on, by which training is stopped early: the ratio
            of validation to training rows is 1 / (folds - 2) then.

    Returns:
        One `Comparison` an arm; without bounds where there are fewer than two folds.

    Raises:
        ArgumentError: If the array has not two dimensions, holds an infinity, or a number is out
            of its range.

    Source:
        Nadeau & Bengio, "Inference for the Generalization Error" (2003), section 3; repeats:
        Bouckaert & Frank, "Evaluating the Replicability of Significance Tests for Comparing
        Learning Algorithms" (2004); arms: Šidák, "Rectangular Confidence Regions for the Means of
        Multivariate Normal Distributions" (1967).

    Example:
        >>> (found,) = compare_folds([[3, 1, 5, 4, 0.2, 5, 2, 4, 3, 4]], folds=10)
        >>> round(found.p, 3), found.low > 0
        (0.002, True)
    """
    table = checked(differences, level, where="compare_folds", pair="folds")
    if folds < 2 + held:
        raise ArgumentError(f"compare_folds: expected at least {2 + held} folds, got {folds}")
    rows = [row[~np.isnan(row)] for row in table]
    if family is None:
        family = sum(enough_folds(len(row)) for row in rows)
    return tuple(
        _one_arm(
            row,
            width(max(1, len(row)), folds, held=held),
            family if enough_folds(len(row)) else 1,
            level,
        )
        for row in rows
    )


def width(pairs: int, folds: int, *, held: bool = False) -> float:
    """Return how much the mean of so many pairs varies, beside how much one does."""
    return math.sqrt(1 / pairs + 1 / (folds - 1 - held))


def _one_arm(row: Floats, wide: float, family: int, level: float) -> Comparison:
    n = len(row)
    if n < 2:
        return Comparison(n, float(row[0]) if n else math.nan, -math.inf, math.inf, 1.0)
    mean = float(row.mean())
    error = float(row.std(ddof=1)) * wide
    if error <= _EQUAL * abs(mean):  # equal differences, up to rounding
        return Comparison(n, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    p = _of_family(outside(mean / error, n - 1), family)
    reach = critical(n - 1, family, level) * error
    low, high = mean - reach, mean + reach
    if p > 1 - level:  # at a tie, rounding must not let the interval say another thing than p
        low, high = min(low, 0.0), max(high, 0.0)
    return Comparison(n, mean, low, high, p)


def _of_family(p: float, family: int) -> float:
    """Return the probability that some of so many independent p are as small."""
    return 1.0 if p >= 1 else -math.expm1(family * math.log1p(-p))


@cache
def critical(freedom: int, family: int, level: float) -> float:
    """Return the largest |t| that the level does not refuse, over so many comparisons at once."""
    low, high = 0.0, 1.0
    while _of_family(outside(high, freedom), family) > 1 - level:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _of_family(outside(middle, freedom), family) > 1 - level:
            low = middle
        else:
            high = middle
    return low


def outside(t: float, freedom: int) -> float:
    """Return the probability that Student's |t| is at least |t|.

    Args:
        t: The statistic.
        freedom: Degrees of freedom, at least 1.

    Source:
        Abramowitz & Stegun, "Handbook of Mathematical Functions" (1964), 26.7.3 and 26.7.4, finite
        sums in cos^2 of the angle whose tangent is t / sqrt(freedom).

    Example:
        >>> round(outside(2.262157, 9), 6), outside(0.0, 3)
        (0.05, 1.0)
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    # terms c^(2i) (2 4 ...) / (3 5 ...) for an odd number, (1 3 ...) / (2 4 ...) for an even one
    steps = np.arange(1, (freedom - odd) // 2)
    ratios = 2 * steps / (2 * steps + 1) if odd else (2 * steps - 1) / (2 * steps)
    terms = np.concatenate([[1.0], np.cumprod(ratios * cosine**2)])
    total = sine * float(terms.sum())
    if not odd:
        return max(0.0, 1 - total)
    beyond = total * cosine if freedom > 1 else 0.0
    return max(0.0, 1 - 2 / math.pi * (angle + beyond))
