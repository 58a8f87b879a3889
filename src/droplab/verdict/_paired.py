"""Means of arms, and their paired differences to the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._signflip import Comparison
from droplab.verdict._types import Difference, Summary

Floats = NDArray[np.float64]


def summary(values: Floats) -> Summary:
    """Return mean and spread of what is there."""
    there = values[np.isfinite(values)]
    n = len(there)
    return Summary(
        mean=float(there.mean()) if n else math.nan,
        sd=float(there.std(ddof=1)) if n > 1 else math.nan,
        n=n,
    )


def paired(
    names: Sequence[str],
    values: Floats,
    baseline: int,
    metric: WrittenMetric,
    by: Method,
    comparisons: Sequence[Comparison] | None = None,
) -> dict[str, Difference]:
    """Return the difference of every arm but the baseline in one metric.

    Args:
        names: Names of the arms.
        values: The metric, shape (arms, seeds), NaN where there is none.
        baseline: Which of the arms is the baseline.
        metric: How it is read.
        by: How differences are judged.
        comparisons: What was found of them in a larger family; None to judge them here.
    """
    others = [i for i in range(len(names)) if i != baseline]
    found: dict[str, Difference] = {}
    judged = comparisons if comparisons is not None else by.compare(less(values, baseline))
    for i, result in zip(others, judged, strict=True):
        both = np.isfinite(values[i]) & np.isfinite(values[baseline])
        found[names[i]] = Difference(
            arm=names[i],
            metric=metric.name,
            n=result.n,
            before=summary(values[baseline][both]).mean,
            after=summary(values[i][both]).mean,
            mean=result.mean,
            low=result.low,
            high=result.high,
            p=result.p,
            better=metric.better(result.mean, 0.0) if result.p <= 1 - by.level else None,
        )
    return found


def less(values: Floats, baseline: int) -> Floats:
    """Return what the other arms have more than the baseline, NaN where a number is missing."""
    finite = np.where(np.isfinite(values), values, math.nan)
    return np.delete(finite, baseline, axis=0) - finite[baseline]


def p_text(p: float) -> str:
    """Write a p."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def counted(number: int) -> str:
    """Write a count of examples."""
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)


def quoted(names: Sequence[str]) -> str:
    """Quote and join names: 'a', 'b' and 'c'."""
    own = [f"'{name}'" for name in names]
    if len(own) > 4:
        return f"{len(own)} arms"
    return own[0] if len(own) == 1 else f"{', '.join(own[:-1])} and {own[-1]}"
