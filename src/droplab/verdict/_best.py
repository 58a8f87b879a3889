"""Which arm is best, and which cannot be told apart from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._paired import summary
from droplab.verdict._table import Table
from droplab.verdict._types import Best

Floats = NDArray[np.float64]


def judge_best(table: Table, primary: WrittenMetric, by: Method) -> Best | None:
    """Return the arm with the best mean and what ties with it.

    The best is picked by looking, so it is compared with the others in the family of all pairs of
    arms, which holds whichever arm was picked.
    """
    done = table.done()
    lost = {arm for arm, _ in table.diverged}
    rows = [i for i, arm in enumerate(table.arms) if done[i].any() and arm not in lost]
    rows = seeded([(i, int(done[i].sum())) for i in rows], by)
    if len(rows) < 2:
        return None
    names = [table.arms[i] for i in rows]
    values = table.judged(primary.name)[rows]
    values[~np.isfinite(values)] = math.nan
    if np.isnan(values).all(axis=1).any():
        return None
    means = np.nanmean(values, axis=1)
    best = int(np.argmax(means) if primary.higher_is_better else np.argmin(means))
    p = [1.0] * len(names) if by.spent else by.against(values, best)
    tied = tuple(name for i, name in enumerate(names) if i != best and p[i] > 1 - by.level)
    return Best(names[best], tied, _sentence(names, best, tied, values, primary, by))


def seeded(counts: Sequence[tuple[int, int]], by: Method) -> list[int]:
    """Return those arms that have the seeds for a verdict; all of them if none has.

    The mean of an arm with few seeds is good or bad by luck, and its pairs would hide the others.

    Args:
        counts: Arms, and how many seeds each has.
        by: How they are judged.
    """
    kept = [arm for arm, n in counts if by.enough(n)]
    return kept or [arm for arm, _ in counts]


def _sentence(
    names: Sequence[str],
    best: int,
    tied: tuple[str, ...],
    values: Floats,
    primary: WrittenMetric,
    by: Method,
) -> str:
    mean = primary.text(summary(values[best]).mean)
    sentence = f"'{names[best]}' has the best {primary.label}, {mean}"
    pairs = int(np.isfinite(values - values[best]).sum(axis=1).min())
    if by.spent:
        return f"{sentence}."
    if not by.enough(pairs):
        return f"{sentence}; {by.too_few(pairs)} to tell it from the others."
    if not tied:
        others = "the other" if len(names) == 2 else "all others"
        return f"{sentence}, and can be told apart from {others}."
    listed = ", ".join(f"'{name}'" for name in tied)
    return f"{sentence}; it cannot be told apart from {listed}."
