"""Whether a finding would stand if differences were skewed, where sign flips promise nothing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.verdict._signflip import LEVEL, Comparison, compare, enough

Floats = NDArray[np.float64]

_SAMPLES = 100_000
_STREAM = 0x736B65776564  # the same samples in every process, so that a verdict repeats
_AT_ONCE = 1 << 22  # numbers of a block of samples: 32 MB
_LARGEST = 64  # larger samples are judged as if they were as small as this, which is careful
_EQUAL = 1e-9


def compare_skewed(differences: ArrayLike, *, level: float = LEVEL) -> tuple[Comparison, ...]:
    r"""Widen what `compare` says to what holds for skewed differences, too.

    Student's `t_a = mean_a / (sd_a / sqrt(n_a))` is judged as if every difference came from an
    exponential distribution about its mean (skewness 2), whose small samples often miss the long
    tail and then look clearer than they are. With `T_n` the |t| of n such numbers,

        `p_a = 1 - prod_b (1 - P(T_{n_b} >= |t_a|))`

    over all arms b that have the pairs for the level, and the interval is
    `mean_a ± c sd_a / sqrt(n_a)`, where c is the largest |t| with p > 1 - level. The larger p and
    the wider interval of this and of `compare` are returned, so that the interval excludes 0
    exactly when p <= 1 - level.

    Args:
        differences: Arm minus baseline, shape (arms, seeds); NaN where an arm lacks a seed.
        level: Coverage of the intervals, over all arms at once.

    Returns:
        One `Comparison` an arm; without bounds where the pairs are too few for the level.

    Raises:
        ArgumentError: As `compare` does.

    Source:
        t of skewed samples: Johnson, "Modified t Tests and Confidence Intervals for Asymmetrical
        Populations" (1978); several arms: Šidák, "Rectangular Confidence Regions for the Means of
        Multivariate Normal Distributions" (1967). `T_n` is taken from 100 000 fixed samples.

    Example:
        >>> from droplab.verdict import compare
        >>> differences = [[3, 1, 5, 4, 0.2, 5, 2, 4]]
        >>> round(compare(differences)[0].p, 4), round(compare_skewed(differences)[0].p, 2)
        (0.0078, 0.02)
    """
    exact = compare(differences, level=level)
    counts = [found.n for found in exact if enough(found.n, level)]
    rows = np.array(differences, dtype=np.float64)
    return tuple(
        _widened(found, row[~np.isnan(row)], counts, 1 - level)
        for found, row in zip(exact, rows, strict=True)
    )


def _widened(found: Comparison, pairs: Floats, counts: Sequence[int], alpha: float) -> Comparison:
    if found.n not in counts:
        return Comparison(found.n, found.mean, -math.inf, math.inf, 1.0)
    error = float(pairs.std(ddof=1)) / math.sqrt(found.n)
    if error <= _EQUAL * abs(found.mean):
        return found  # equal differences, up to rounding: no noise whose shape would matter
    reach = _largest_t(tuple(counts), alpha) * error
    p = max(found.p, float(_p(np.array([abs(found.mean) / error]), counts)[0]))
    low, high = min(found.low, found.mean - reach), max(found.high, found.mean + reach)
    if p > alpha:  # at a tie, rounding must not let the interval say another thing than p
        low, high = min(low, 0.0), max(high, 0.0)
    return Comparison(found.n, found.mean, low, high, p)


def seeds_needed(differences: ArrayLike, arms: int, *, level: float = LEVEL) -> int | None:
    """Return how many pairs like these of one arm `compare_skewed` would find clear.

    Args:
        differences: Arm minus baseline, shape (seeds,); NaN where the arm lacks a seed.
        arms: How many arms are compared at once, all with so many pairs.
        level: Coverage of the intervals.

    Returns:
        The least number with the same mean and spread, None if it is above 64 or there is no mean
        or no spread.

    Example:
        >>> seeds_needed([3, 1, 5, 4, 0.2, -1, 2, 4], arms=1)
        10
    """
    row = np.array(differences, dtype=np.float64)
    row = row[~np.isnan(row)]
    if len(row) < 2 or not row.mean() or not np.ptp(row):
        return None
    each = abs(float(row.mean())) / float(row.std(ddof=1))
    counts = range(2, _LARGEST + 1)

    def clear(n: int) -> bool:
        return each * math.sqrt(n) > _largest_t((n,) * arms, 1 - level)

    place = bisect_left(counts, True, key=clear)  # more pairs are never less clear
    return counts[place] if place < len(counts) else None


def _p(t: Floats, counts: Sequence[int]) -> Floats:
    """Return the probability that some arm reaches |t|, for each t."""
    missed = np.ones(len(t))
    for n, arms in Counter(min(n, _LARGEST) for n in counts).items():
        reached = _SAMPLES - np.searchsorted(_t_of_skewed(n), t)
        missed *= (1 - (1 + reached) / (1 + _SAMPLES)) ** arms
    return 1 - missed


@lru_cache(maxsize=64)
def _largest_t(counts: tuple[int, ...], alpha: float) -> float:
    """Return the largest |t| whose p is above alpha; infinite if there is no end to them."""
    sizes = sorted({min(n, _LARGEST) for n in counts})
    steps = np.concatenate([_t_of_skewed(n) for n in sizes])
    above = steps[_p(steps, counts) > alpha]
    beyond = _p(np.array([math.inf]), counts)[0] > alpha
    return math.inf if beyond else float(above.max(initial=0.0))


@lru_cache(maxsize=64)
def _t_of_skewed(n: int) -> Floats:
    """Return |t| of many samples of n exponential numbers less their mean, in ascending order."""
    bits = np.random.PCG64([_STREAM, n])
    found: list[Floats] = []
    block = max(1, min(_SAMPLES, _AT_ONCE // n))
    for begin in range(0, _SAMPLES, block):
        size = min(block, _SAMPLES - begin)
        # Raw words, as numpy may change what its distributions make of them.
        uniform = (bits.random_raw(size * n) >> np.uint64(11)) * 2.0**-53
        drawn = -np.log1p(-uniform.reshape(size, n)) - 1
        found.append(np.abs(drawn.mean(axis=1)) * math.sqrt(n) / drawn.std(axis=1, ddof=1))
    t = np.sort(np.concatenate(found))
    t.setflags(write=False)
    return t
