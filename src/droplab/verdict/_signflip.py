"""The exact paired test behind every verdict, and the interval that inverts it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from droplab.errors import ArgumentError

EXACT_UP_TO = 16
RANDOM_FLIPS = 100_000
LEVEL = 0.95
_STREAM = 0x64726F706C6162  # the same flips in every process, so that a verdict repeats
_CLOSE = 1e-9
_AT_ONCE = 1 << 20  # sums of a block of pairs: 8 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What sign flips say about one arm's paired differences.

    Args:
        n: Number of pairs.
        mean: Mean difference, NaN without a pair.
        low: Lower end of the interval, -inf where the pairs are too few for one.
        high: Upper end of the interval, inf likewise.
        p: Probability of a difference as clear as this one in any arm, if no arm differed.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float


def smallest_p(n: int) -> float:
    """Return the smallest p that `n` pairs can give: 2 / 2^n.

    Example:
        >>> smallest_p(5), smallest_p(6)
        (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - n))


def enough(n: int, level: float = LEVEL) -> bool:
    """Return whether `n` pairs can reach the level at all.

    Example:
        >>> enough(5), enough(6)
        (False, True)
    """
    return smallest_p(n) <= 1 - level


def fewest(level: float = LEVEL) -> int:
    """Return how many pairs can reach the level at least.

    Example:
        >>> fewest(0.95), fewest(0.975)
        (6, 7)
    """
    return next(n for n in range(1, 1024) if enough(n, level))


def compare(differences: ArrayLike, *, level: float = LEVEL) -> tuple[Comparison, ...]:
    r"""Test the paired differences of several arms at once and give simultaneous intervals.

    For signs e in {-1, 1}^n, the same for all arms, arm a has the studentised statistic
    `r_a(e) = |sum_s e_s d_as| / sqrt(n_a sum_s d_as^2)` (a monotone function of |t|), and

        `p_a = #{e : max_b r_b(e) >= r_a(1)} / 2^n`.

    The p of "the effect of arm a is x" is the same with d_a - x in place of d_a, and the interval
    is the set of all x with p_a(x) > 1 - level: it excludes 0 exactly when p_a <= 1 - level. All
    sign vectors are used for up to 16 pairs, 100 000 fixed random ones and the identity beyond.

    The other arms enter the maximum twice, as they are and with their mean taken away, and the
    larger p counts. As they are, the probability of any false alarm is at most 1 - level for all
    differences that are symmetric under their hypothesis, whichever arms have an effect. Centred,
    the intervals keep their simultaneous coverage when several arms have an effect: large ones
    make uncentred arms alike, and the maximum too small (0.91 instead of 0.95 for nine arms).

    An arm whose pairs are too few to reach the level is judged by itself and is no part of the
    maximum: nothing can be said of it, and it must not hide what can be said of the others.

    Args:
        differences: Arm minus baseline, shape (arms, seeds); NaN where an arm lacks a seed.
        level: Coverage of the intervals, over all arms at once.

    Returns:
        One `Comparison` an arm. Ends are infinite where no p of the pairs is small enough.

    Raises:
        ArgumentError: If the array has not two dimensions, holds an infinity, or `level` is not
            between 0 and 1.

    Source:
        Max-T: Westfall & Young, "Resampling-Based Multiple Testing" (1993), section 2; intervals
        by inversion: Lehmann & Romano, "Testing Statistical Hypotheses" (2005), sections 5.8, 15.2.

    Example:
        >>> better, same = compare([[3, 4, 5, 4, 3, 5, 4, 4], [1, -1, 2, -2, 1, -1, 0, 0]])
        >>> better.p, better.low > 0
        (0.0078125, True)
        >>> same.p > 0.05, same.low < 0 < same.high
        (True, True)
    """
    table = checked(differences, level, where="compare", pair="seeds")
    counts = np.count_nonzero(~np.isnan(table), axis=1)
    family = [i for i, n in enumerate(counts) if enough(int(n), level)]
    found = dict(zip(family, _together(table[family], level), strict=True))
    return tuple(
        found[i] if i in found else _together(table[i : i + 1], level)[0] for i in range(len(table))
    )


def checked(differences: ArrayLike, level: float, *, where: str, pair: str) -> Floats:
    """Return differences as a table of arms and pairs, if they can be tested at this level.

    Raises:
        ArgumentError: If the array has not two dimensions, holds an infinity, or `level` is not
            between 0 and 1.
    """
    table = np.array(differences, dtype=np.float64)
    if table.ndim != 2:
        raise ArgumentError(f"{where}: expected shape (arms, {pair}), got {table.shape}")
    if np.isinf(table).any():
        raise ArgumentError(
            f"{where}: expected finite differences, got an infinite one; leave it out"
        )
    if not 0 < level < 1:
        raise ArgumentError(f"{where}: level must be between 0 and 1, got {level}")
    return table


def _together(table: Floats, level: float) -> tuple[Comparison, ...]:
    """Judge arms, shape (arms, seeds), as one family."""
    present = ~np.isnan(table)
    table = table[:, present.any(axis=0)]
    present = present[:, present.any(axis=0)]
    arms = [_Arm.of(row, there) for row, there in zip(table, present, strict=True)]
    signs = sign_vectors(table.shape[1])
    if len(arms) == 1:
        return (_one_arm(arms[0], signs, (np.zeros(1),), 1 - level),)
    raw = _Maximum(signs, [(arm.values, arm.n) for arm in arms])
    centred = _Maximum(signs, [(arm.residuals, arm.n) for arm in arms])
    return tuple(
        _one_arm(arm, signs, (raw.without(i), centred.without(i)), 1 - level)
        for i, arm in enumerate(arms)
    )


@dataclass(frozen=True)
class _Arm:
    n: int
    mean: float
    values: Floats  # 0 where a seed is missing: no sign of it moves a sum
    residuals: Floats
    there: Floats

    @classmethod
    def of(cls, row: Floats, there: NDArray[np.bool_]) -> _Arm:
        n = int(there.sum())
        mean = float(row[there].sum()) / n if n else 0.0
        residuals = np.where(there, row - mean, 0.0)
        if np.abs(residuals).max(initial=0.0) <= _CLOSE * abs(mean):
            residuals = np.zeros_like(residuals)  # equal differences, up to rounding
        return cls(n, mean, np.where(there, row, 0.0), residuals, there.astype(np.float64))


class _Maximum:
    """The maximum of r over all arms but one, for every sign vector."""

    def __init__(self, signs: Floats | _Packed, rows: list[tuple[Floats, int]]) -> None:
        self._first = np.zeros(len(signs))
        self._second = np.zeros(len(signs))
        self._owner = np.full(len(signs), -1)
        for i, (row, n) in enumerate(rows):
            norm = math.sqrt(n * float(row @ row))
            if norm == 0:
                continue  # an arm that never differs is never the clearest
            r = np.abs(signs @ row) / norm
            self._owner[r > self._first] = i
            np.maximum(self._second, np.minimum(self._first, r), out=self._second)
            np.maximum(self._first, r, out=self._first)

    def without(self, arm: int) -> Floats:
        return np.where(self._owner == arm, self._second, self._first)


def _one_arm(
    arm: _Arm, signs: Floats | _Packed, others: tuple[Floats, ...], alpha: float
) -> Comparison:
    """Invert the test in closed form: every sign vector supports effects up to some distance.

    With the effect x above the mean, sign vector e counts against x when its own sum is as large
    as the observed one (two straight lines in x, so x up to `own`), or when another arm's r is as
    large as the observed r, which grows with |x| (so x up to `other`). The end of the interval is
    an order statistic of the larger of the two.
    """
    if arm.n == 0:
        return Comparison(0, math.nan, -math.inf, math.inf, 1.0)
    total, spread = len(signs), float(arm.residuals @ arm.residuals)
    allowed = math.floor(alpha * total + _CLOSE)  # sign vectors that may count at p <= alpha
    sums, balance = signs @ arm.residuals, signs @ arm.there
    identity = np.abs(balance) == arm.n
    with np.errstate(divide="ignore", invalid="ignore"):
        plus, minus = sums / (arm.n + balance), sums / (arm.n - balance)
        above, below = np.maximum(plus, -minus), np.maximum(minus, -plus)
        # The identity and its mirror always count; a sum of theirs is 0 / 0 above.
        above[identity] = below[identity] = math.inf
        reach = [
            np.where(r < 1 - _CLOSE, r * np.sqrt(spread / arm.n / (1 - r * r)), math.inf)
            for r in others
        ]
    low, high, p = math.inf, -math.inf, 0.0
    slack = _CLOSE * (abs(arm.mean) + math.sqrt(spread))
    for other in reach:
        up, down = np.maximum(above, other), np.maximum(below, other)
        towards_zero = down if arm.mean > 0 else up
        p = max(p, float(np.count_nonzero(towards_zero >= abs(arm.mean) - slack)) / total)
        high = max(high, arm.mean + _largest(up, allowed))
        low = min(low, arm.mean - _largest(down, allowed))
    if p > alpha:  # at a tie, rounding must not let the interval say another thing than p
        low, high = min(low, 0.0), max(high, 0.0)
    return Comparison(arm.n, arm.mean, low, high, p)


def _largest(values: Floats, rank: int) -> float:
    """Return the value with exactly `rank` others before it in descending order; moves them all."""
    place = len(values) - 1 - rank
    values.partition(place)
    return float(values[place])


def p_against(values: Floats, best: int, level: float = LEVEL) -> list[float]:
    """Return the p of every arm against arm `best`, in the family of all pairs; 1 for itself.

    Pairs with too few seeds for the level are no part of the family, and their p is 1.
    """
    values = values[:, np.isfinite(values).any(axis=0)]
    signs = sign_vectors(values.shape[1])
    at_once = max(1, _AT_ONCE // len(signs))
    largest = np.zeros(len(signs))
    observed = np.zeros(len(values))
    blocks = [
        (i, begin) for i in range(len(values)) for begin in range(i + 1, len(values), at_once)
    ]
    for i, begin in blocks:
        differences = values[i] - values[begin : begin + at_once]
        there = np.isfinite(differences)
        rows, counts = np.where(there, differences, 0.0), there.sum(axis=1)
        norms = np.sqrt(counts * (rows * rows).sum(axis=1))
        (kept,) = np.nonzero((norms > 0) & (counts >= fewest(level)))
        if not len(kept):
            continue
        r = np.abs(signs @ rows[kept].T) / norms[kept]
        np.maximum(largest, r.max(axis=1), out=largest)
        if best == i:
            observed[begin + kept] = r[0]
        elif best - begin in kept:
            observed[i] = r[0, kept == best - begin].item()
    return [float(np.mean(largest >= r - _CLOSE)) for r in observed]


@lru_cache(maxsize=8)
def sign_vectors(n: int) -> Floats | _Packed:
    """Return the sign vectors, one a row, the identity first; e and -e count the same."""
    if n > EXACT_UP_TO:
        return _Packed(n)
    free = max(n - 1, 0)
    signs = np.ones((2**free, n))
    signs[:, n - free :] -= 2.0 * (np.arange(2**free)[:, None] >> np.arange(free) & 1)
    signs.setflags(write=False)
    return signs


class _Packed:
    """Random sign vectors after the identity, eight signs a byte, of which a sum is looked up.

    As a table of numbers those of 5 000 pairs would take 4 GB.
    """

    def __init__(self, n: int) -> None:
        # Raw words, as numpy may change what its distributions make of them.
        words = np.random.PCG64(_STREAM).random_raw(RANDOM_FLIPS * -(-n // 64))
        drawn = words.astype("<u8").view(np.uint8).reshape(RANDOM_FLIPS, -1)
        self._n, self._bytes = n, np.zeros((-(-n // 8), RANDOM_FLIPS + 1), np.uint8)
        self._bytes[:, 1:] = drawn[:, : len(self._bytes)].T

    def __len__(self) -> int:
        return RANDOM_FLIPS + 1

    def __matmul__(self, row: Floats) -> Floats:
        """Return the sum of a row, (n,), under each sign vector; of several, (n, rows), alike."""
        if row.ndim > 1:
            return np.stack([self @ each for each in row.T], axis=1)
        eights = np.pad(row, (0, -self._n % 8)).reshape(-1, 8)
        sums = np.zeros(len(self))
        for table, codes in zip(eights @ _SIGNS_OF_A_BYTE, self._bytes, strict=True):
            sums += table.take(codes)
        return sums


_SIGNS_OF_A_BYTE = 1 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0)
