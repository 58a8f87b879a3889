"""The smallest effect that so many seeds can see, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from droplab.errors import ArgumentError
from droplab.verdict._folds import critical, enough_folds, width
from droplab.verdict._signflip import LEVEL, enough

POWER = 0.8
"""How often an effect is found that "can be seen"."""

LEVELS = (0.95, 0.975)
SEEDS = (6, 7, 8, 9, 10, 12, 14)
TESTS = (1, 2, 4, 8, 16, 32, 64)

# made by python tools/power.py, do not edit
_EFFECTS: Mapping[float, tuple[tuple[float, ...], ...]] = {
    0.95: (
        (4.45, 3.51, 3.36, 3.26, 3.18, 3.08, 3.03, 2.80),
        (5.69, 4.25, 3.97, 3.79, 3.66, 3.49, 3.42, 3.06),
        (7.07, 4.93, 4.52, 4.30, 4.09, 3.91, 3.78, 3.28),
        (8.34, 5.69, 5.03, 4.77, 4.45, 4.27, 4.10, 3.49),
        (9.80, 6.44, 5.69, 5.30, 5.05, 4.68, 4.46, 3.69),
        (12.00, 7.31, 6.36, 5.83, 5.40, 5.10, 4.77, 3.87),
        (13.88, 8.22, 7.01, 6.39, 5.98, 5.46, 5.11, 4.03),
    ),
    0.975: (
        (math.inf, 4.92, 4.00, 3.80, 3.68, 3.51, 3.42, 3.07),
        (math.inf, 5.97, 4.70, 4.38, 4.22, 3.95, 3.82, 3.32),
        (math.inf, 7.02, 5.34, 4.95, 4.67, 4.38, 4.20, 3.54),
        (math.inf, 8.10, 5.93, 5.45, 5.07, 4.75, 4.53, 3.73),
        (math.inf, 9.07, 6.68, 6.07, 5.69, 5.21, 4.90, 3.92),
        (math.inf, 10.55, 7.44, 6.64, 6.11, 5.64, 5.24, 4.10),
        (math.inf, 11.63, 8.21, 7.30, 6.76, 6.04, 5.61, 4.26),
    ),
}
# end of what it made


def smallest_effect(
    tests: int,
    seeds: int,
    *,
    level: float = LEVEL,
    folds: int | None = None,
    held: bool = False,
) -> float:
    """Return the effect that is found in 80 % of runs, in standard deviations of the differences.

    Over seeds it is that of the test of `compare`, simulated with normal noise where arms and
    baseline scatter alike; over folds that of `compare_folds`, by the noncentral t.

    Args:
        tests: How many differences are tested together: arms without the baseline, times the
            questions.
        seeds: How many pairs there are: seeds, or folds over all repeats.
        level: One of `LEVELS`; over folds any.
        folds: Folds of a repeat; None without folds.
        held: Whether one of them is not trained on, as in `compare_folds`.

    Returns:
        The effect; infinite where so many pairs cannot carry a verdict.

    Raises:
        ArgumentError: A number is out of its range.

    Example:
        >>> round(smallest_effect(1, 8), 1), round(smallest_effect(9, 8), 1), smallest_effect(1, 5)
        (1.2, 1.8, inf)
    """
    if tests < 1 or seeds < 1:
        raise ArgumentError(
            f"smallest_effect: expected at least one test and one pair, got {tests} and {seeds}"
        )
    if folds is not None:
        wide = width(seeds, folds, held=held)
        return _over_folds(tests, seeds, wide, level) if enough_folds(seeds) else math.inf
    if level not in LEVELS:
        raise ArgumentError(f"smallest_effect: expected a level of {LEVELS}, got {level}")
    if not enough(seeds, level):
        return math.inf
    counts = [math.log(n) for n in TESTS]
    columns = [_at(math.log(tests), counts, each) for each in zip(*_EFFECTS[level], strict=True)]
    # nearly straight in 1 / n, which is 0 where spreads are known
    places = [0.0, *(1 / n for n in reversed(SEEDS))]
    return _at(1 / seeds, places, [columns[-1], *columns[-2::-1]]) / math.sqrt(seeds)


def seeds_to_see(effect: float, tests: int, *, level: float = LEVEL) -> int | None:
    """Return how many seeds find an effect in 80 % of runs; None if it takes more than 1000.

    Args:
        effect: The effect, in standard deviations of the differences.
        tests: As in `smallest_effect`.
        level: As in `smallest_effect`.

    Example:
        >>> seeds_to_see(1.0, 1)
        11
    """
    counts = range(2, 1001)
    return next((n for n in counts if smallest_effect(tests, n, level=level) <= effect), None)


def spread_bound(spread: float, pairs: int) -> float:
    """Return what a standard deviation is at most, with 80 % confidence, from that of a sample.

    Args:
        spread: Standard deviation of normal numbers.
        pairs: How many they were, at least 2.

    Raises:
        ArgumentError: There are fewer.

    Example:
        >>> round(spread_bound(1.0, 8), 2)
        1.35
    """
    if pairs < 2:
        raise ArgumentError(f"spread_bound: expected at least 2 pairs, got {pairs}")
    return spread * math.sqrt((pairs - 1) / _chi_square(1 - POWER, pairs - 1))


@lru_cache(maxsize=64)
def _chi_square(share: float, freedom: int) -> float:
    """Return the quantile of chi-square, by halving, for a share below that of its mean."""
    low, high = 0.0, float(freedom)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, freedom) < share else (low, middle)
    return high


def _below(x: float, freedom: int) -> float:
    """The distribution function of chi-square: the series of the incomplete gamma function."""
    if x <= 0:
        return 0.0
    half, y = freedom / 2, x / 2
    term = total = math.exp(half * math.log(y) - y - math.lgamma(half + 1))
    while term > 1e-12 * total:
        half += 1
        term *= y / half
        total += term
    return total


def _over_folds(tests: int, pairs: int, wide: float, level: float) -> float:
    """Return the effect by the noncentral t, where the mean varies as `compare_folds` takes it."""
    freedom, largest = pairs - 1, critical(pairs - 1, tests, level)
    # the spread of a sample, in units of the true one: equal shares of its distribution
    steps = np.linspace(0, 4, 401)[1:]
    logs = (freedom - 1) * np.log(steps) - freedom * steps**2 / 2
    density = np.exp(logs - logs.max())
    shares = density / density.sum()
    low, high = 0.0, 100.0 * (largest + 1)
    for _ in range(60):
        middle = (low + high) / 2
        found = sum(
            share * _NORMAL.cdf(middle - largest * step)
            for step, share in zip(steps.tolist(), shares.tolist(), strict=True)
            if share > 1e-9
        )
        low, high = (middle, high) if found < POWER else (low, middle)
    return high * wide


_NORMAL = NormalDist()


def _at(x: float, places: list[float], values: Sequence[float]) -> float:
    """Return what lies on the line between two neighbours; beyond the last, on that line."""
    at = next((i for i, place in enumerate(places) if x <= place), len(places) - 1)
    if x == places[at]:
        return values[at]
    a, b = places[at - 1 : at + 1]
    before, after = values[at - 1 : at + 1]
    return before + (x - a) / (b - a) * (after - before) if after < math.inf else math.inf
