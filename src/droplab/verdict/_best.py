"""Which arm is best, and which cannot be told apart from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._arms import summary, too_few
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._signflip import LEVEL, enough, sign_vectors
from droplab.verdict._table import Table
from droplab.verdict._types import Best

Floats = NDArray[np.float64]
_CLOSE = 1e-9


def judge_best(table: Table, primary: WrittenMetric, level: float) -> Best | None:
    """Return the arm with the best mean and what ties with it.

    The best is picked by looking, so it is compared with the others in the family of all pairs of
    arms (max-T over all of them), which holds whichever arm was picked.
    """
    done = table.done()
    lost = {arm for arm, _ in table.diverged}
    rows = [i for i, arm in enumerate(table.arms) if done[i].any() and arm not in lost]
    rows = seeded([(i, int(done[i].sum())) for i in rows], level)
    if len(rows) < 2:
        return None
    names = [table.arms[i] for i in rows]
    values = table.judged(primary.name)[rows]
    values[~np.isfinite(values)] = math.nan
    if np.isnan(values).all(axis=1).any():
        return None
    means = np.nanmean(values, axis=1)
    best = int(np.argmax(means) if primary.higher_is_better else np.argmin(means))
    p = p_against(values, best, level)
    tied = tuple(name for i, name in enumerate(names) if i != best and p[i] > 1 - level)
    return Best(names[best], tied, _sentence(names, best, tied, values, primary, level))


def seeded(counts: Sequence[tuple[int, int]], level: float) -> list[int]:
    """Return those arms that have the seeds for a verdict; all of them if none has.

    The mean of an arm with few seeds is good or bad by luck, and its pairs would hide the others.

    Args:
        counts: Arms, and how many seeds each has.
        level: Coverage of the intervals.
    """
    kept = [arm for arm, n in counts if enough(n, level)]
    return kept or [arm for arm, _ in counts]


def p_against(values: Floats, best: int, level: float = LEVEL) -> list[float]:
    """Return the p of every arm against arm `best`, in the family of all pairs; 1 for itself.

    Pairs with too few seeds for the level are no part of the family, and their p is 1.
    """
    there = np.isfinite(values)
    pairs = [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if enough(int((there[i] & there[j]).sum()), level)
    ]
    kept = there.any(axis=0)
    values = values[:, kept]
    signs = sign_vectors(values.shape[1])
    largest = np.zeros(len(signs))
    observed = [0.0] * len(values)
    for i, j in pairs:
        differences = values[i] - values[j]
        there = ~np.isnan(differences)
        row = np.where(there, differences, 0.0)
        norm = math.sqrt(np.count_nonzero(there) * float(row @ row))
        if norm == 0:
            continue
        r = np.abs(signs @ row) / norm
        np.maximum(largest, r, out=largest)
        if best in (i, j):
            observed[j if i == best else i] = float(r[0])
    return [float(np.mean(largest >= r - _CLOSE)) for r in observed]


def _sentence(
    names: Sequence[str],
    best: int,
    tied: tuple[str, ...],
    values: Floats,
    primary: WrittenMetric,
    level: float,
) -> str:
    mean = primary.text(summary(values[best]).mean)
    sentence = f"'{names[best]}' has the best {primary.label}, {mean}"
    pairs = int(np.isfinite(values - values[best]).sum(axis=1).min())
    if not enough(pairs, level):
        return f"{sentence}; {too_few(pairs)} to tell it from the others."
    if not tied:
        others = "the other" if len(names) == 2 else "all others"
        return f"{sentence}, and can be told apart from {others}."
    listed = ", ".join(f"'{name}'" for name in tied)
    return f"{sentence}; it cannot be told apart from {listed}."
