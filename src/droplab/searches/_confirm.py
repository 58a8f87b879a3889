"""The verdict on what a search found: fresh seeds, and examples that it never scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from droplab.data import Splits
from droplab.results import ProposedPlan, RunResult, SearchRecord, Shrinkage
from droplab.searches._driver import CONFIRMED, Driver, finite
from droplab.studies import rescored
from droplab.verdict import Verdict, compare, judge


def confirm(
    driver: Driver, winners: Sequence[ProposedPlan], fresh: Splits
) -> tuple[RunResult, Verdict, tuple[Shrinkage, ...]]:
    """Train the winners and the baseline again, and judge them.

    The winners are one family of the verdict, as the arms of any run are.
    """
    arms = [driver.space.arm(each.name, each.choice) for each in winners]
    names = [arm.name for arm in arms]
    driver.observer.confirming(tuple(names))
    seeds = driver.record.fresh_seeds
    result = driver.trained(
        lambda: driver.experiment(arms, seeds, fresh, "confirmed on fresh seeds and examples"),
        CONFIRMED,
        [driver.baseline.name, *names],
    )
    verdict = judge(result)
    again = driver.experiment(arms, seeds, driver.searched, "searched examples again")
    scores = rescored(result, again)
    steps = [
        step
        for metric in driver.record.objective
        for step in _steps(driver.record, metric, winners, driver.baseline.name, scores, verdict)
    ]
    return result, verdict, tuple(steps)


def _steps(
    record: SearchRecord,
    metric: str,
    winners: Sequence[ProposedPlan],
    baseline: str,
    scores: Mapping[tuple[str, int], Mapping[str, float]],
    verdict: Verdict,
) -> list[Shrinkage]:
    def row(arm: str) -> list[float]:
        found = [scores.get((arm, s), {}).get(metric, math.nan) for s in record.fresh_seeds]
        return [value if math.isfinite(value) else math.nan for value in found]

    before = np.array(row(baseline))
    again = np.array([row(each.name) for each in winners]) - before
    compared = compare(again, level=verdict.level)
    steps: list[Shrinkage] = []
    for each, middle in zip(winners, compared, strict=True):
        value, base = each.values.get(metric), record.baseline.get(metric)
        last = verdict.arm(each.name).differences.get(metric)
        steps.append(
            Shrinkage(
                each.name,
                metric,
                None if value is None or base is None else value - base,
                finite(middle.mean),
                finite(middle.low),
                finite(middle.high),
                None if last is None else finite(last.mean),
                None if last is None else finite(last.low),
                None if last is None else finite(last.high),
            )
        )
    return steps
