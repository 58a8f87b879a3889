"""Each arm against the baseline: means, paired differences, and the word for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._table import Table
from droplab.verdict._types import ArmVerdict, Difference, Summary, Word

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
    names: Sequence[str], values: Floats, baseline: int, metric: WrittenMetric, by: Method
) -> dict[str, Difference]:
    """Return the difference of every arm but the baseline in one metric.

    Args:
        names: Names of the arms.
        values: The metric, shape (arms, seeds), NaN where there is none.
        baseline: Which of the arms is the baseline.
        metric: How it is read.
        by: How differences are judged.
    """
    others = [i for i in range(len(names)) if i != baseline]
    found: dict[str, Difference] = {}
    for i, result in zip(others, by.compare(less(values, baseline)), strict=True):
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


def judge_arms(
    table: Table, primary: WrittenMetric, by: Method, about: About
) -> tuple[ArmVerdict, ...]:
    """Return what is to be said of every arm, in the recipe's order."""
    done = table.done()
    baseline = table.arms.index(table.recipe.baseline.name)
    metrics = table.metrics.epoch
    values = {name: table.judged(name) for name in metrics}
    differences = {
        name: paired(table.arms, table.compared(name), baseline, metric, by)
        for name, metric in metrics.items()
    }
    seconds = table.curves("seconds")
    verdicts: list[ArmVerdict] = []
    for i, arm in enumerate(table.recipe.arms):
        mine = {name: found[arm.name] for name, found in differences.items() if arm.name in found}
        lost = [seed for seed in table.seeds if (arm.name, seed) in table.diverged]
        word = _word(mine[primary.name], lost, by) if mine else None
        verdicts.append(
            ArmVerdict(
                name=arm.name,
                rates=dict(about.rates.get(arm.name, arm.rates)),
                seeds=tuple(s for j, s in enumerate(table.seeds) if done[i, j]),
                metrics={name: summary(found[i]) for name, found in values.items()},
                differences=mine,
                word=word,
                sentence=_sentence(arm.name, word, mine, primary, lost, by),
                seconds=_mean_seconds(seconds[i]),
                existing=dict(arm.existing),
                schedule=str(arm.schedule or ""),
            )
        )
    return tuple(verdicts)


def _mean_seconds(seconds: Floats) -> float:
    """Return the time of a replica, over those that have rows."""
    begun = seconds[~np.isnan(seconds).all(axis=1)]
    return float(np.nansum(begun, axis=1).mean()) if len(begun) else math.nan


def _word(difference: Difference, lost: list[int], by: Method) -> Word:
    if lost:
        return "unstable"
    if not by.enough(difference.n):
        return "too few seeds"
    if difference.better is None:
        return "not shown to help"
    return "helps" if difference.better else "hurts"


def _sentence(
    name: str,
    word: Word | None,
    differences: Mapping[str, Difference],
    primary: WrittenMetric,
    lost: list[int],
    by: Method,
) -> str:
    if word is None:
        return f"'{name}' is the baseline."
    found = differences[primary.name]
    if word == "unstable":
        seeds = "seed" if len(lost) == 1 else "seeds"
        return (
            f"'{name}' is unstable: a loss became NaN or infinite on {seeds} "
            f"{', '.join(map(str, lost))}; the other seeds alone would flatter it, so no verdict "
            "is given."
        )
    if word == "too few seeds":
        return f"'{name}': {by.too_few(found.n)}."
    measured = (
        f"{primary.difference(found.mean)} in {primary.label} "
        f"({100 * by.level:.0f} % interval {primary.interval(found.low, found.high)}, "
        f"p = {p_text(found.p)}, {by.count(found.n)})"
    )
    if word != "not shown to help":
        return f"'{name}' {word}: {measured}."
    if found.low == found.high == 0:
        return f"'{name}' is {word}: {primary.label} is exactly the same on every {by.unit}."
    return f"'{name}' is {word}: {measured}; {sees_text([found], primary, by)}."


def sees_text(found: Sequence[Difference], primary: WrittenMetric, by: Method) -> str:
    """Say from where on an improvement would have been seen in every one of these arms.

    The mean moves the interval with it. So the word is "helps" from the mean on whose better end
    is 0: as far from 0 as the end is from the mean.
    """
    reach = [d.mean - d.low if primary.higher_is_better else d.high - d.mean for d in found]
    if not all(map(math.isfinite, reach)):
        return f"{by.units} that scatter like these cannot show an improvement"
    return f"{by.units} that scatter like these see improvements from {primary.size(max(reach))} on"


def p_text(p: float) -> str:
    """Write a p."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
