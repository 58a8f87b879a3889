"""The verdict on what a search found: fresh seeds, and examples that it never scored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from droplab.results import ProposedPlan, RunResult, Shrinkage
from droplab.searches._driver import CONFIRMED, Driver, finite
from droplab.searches._trainer import Scores
from droplab.verdict import Verdict, compare, judge


def confirm(
    driver: Driver, winners: Sequence[ProposedPlan]
) -> tuple[RunResult, Verdict, tuple[Shrinkage, ...]]:
    """Train the winners and the baseline again, and judge them.

    The winners are one family of the verdict, as the arms of any run are.
    """
    arms = [driver.space.arm(each.name, each.choice) for each in winners]
    names = [arm.name for arm in arms]
    driver.observer.confirming(tuple(names))
    trainer = driver.trainer
    result = trainer.train(
        [driver.baseline, *arms],
        [driver.baseline.name, *names],
        driver.record.fresh_seeds,
        CONFIRMED,
        "confirmed on fresh seeds and examples",
        fresh=True,
    )
    verdict = judge(result)
    scores = trainer.searched(result)
    steps = [
        step
        for metric in driver.record.objective
        for step in _steps(driver, metric, winners, scores, verdict)
    ]
    return result, verdict, tuple(steps)


def _steps(
    driver: Driver,
    metric: str,
    winners: Sequence[ProposedPlan],
    scores: Scores,
    verdict: Verdict,
) -> list[Shrinkage]:
    record, fresh = driver.record, driver.trainer.fresh_metric(metric)

    def row(arm: str) -> list[float]:
        found = [scores.get((arm, s), {}).get(metric, math.nan) for s in record.fresh_seeds]
        return [value if math.isfinite(value) else math.nan for value in found]

    before = np.array(row(driver.baseline.name))
    again = np.array([row(each.name) for each in winners]) - before
    compared = compare(again, level=verdict.level)
    steps: list[Shrinkage] = []
    for each, middle in zip(winners, compared, strict=True):
        value, base = each.values.get(metric), record.baseline.get(metric)
        last = verdict.arm(each.name).differences.get(fresh) if fresh else None
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
