"""What the chosen arm and the baseline reached on the official test split."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from droplab.errors import ArgumentError
from droplab.recipe import Recipe
from droplab.results import TestRow
from droplab.verdict._arms import paired, seeds_text, summary
from droplab.verdict._metrics import TEST_METRICS
from droplab.verdict._types import Difference, Summary, TestVerdict


def judge_test(
    recipe: Recipe, rows: Iterable[TestRow], chosen: str | None, level: float
) -> TestVerdict | None:
    """Return means and paired differences on the test split; None if it was not touched."""
    known = {(row.arm, row.seed): row for row in rows}
    if not known:
        return None
    names = [arm.name for arm in recipe.arms if any(arm.name == a for a, _ in known)]
    for arm, seed in known:
        if arm not in names or seed not in recipe.seeds:
            raise ArgumentError(
                f"verdict: arm '{arm}', seed {seed} has a test result but is not part of recipe "
                f"'{recipe.name}'; do not mix the results of two recipes"
            )
    arms: dict[str, dict[str, Summary]] = {name: {} for name in names}
    differences: dict[str, dict[str, Difference]] = {}
    for metric in TEST_METRICS.values():
        values = np.array(
            [
                [
                    getattr(known[name, seed], metric.name) if (name, seed) in known else math.nan
                    for seed in recipe.seeds
                ]
                for name in names
            ]
        )
        for name, row in zip(names, values, strict=True):
            arms[name][metric.name] = summary(row)
        if recipe.baseline.name in names:
            baseline = names.index(recipe.baseline.name)
            differences[metric.name] = {}
            for name, found in paired(names, values, baseline, metric, level).items():
                differences[metric.name][name] = found
    mine = (
        {m: found[chosen] for m, found in differences.items() if chosen in found} if chosen else {}
    )
    return TestVerdict(arms, mine, _sentence(recipe.baseline.name, chosen, arms, mine))


def _sentence(
    baseline: str,
    chosen: str | None,
    arms: dict[str, dict[str, Summary]],
    differences: dict[str, Difference],
) -> str:
    accuracy, loss = TEST_METRICS["accuracy"], TEST_METRICS["loss"]
    if chosen not in arms or not differences:
        which = ", ".join(f"'{name}'" for name in arms)
        return f"The test split was touched by {which} alone."
    right, lost = differences["accuracy"], differences["loss"]
    mine, base = arms[chosen], arms[baseline]
    return (
        f"On the official test split, touched once, '{chosen}' gets "
        f"{accuracy.text(mine['accuracy'].mean)} right and the baseline "
        f"{accuracy.text(base['accuracy'].mean)} ({accuracy.difference(right.mean)}, interval "
        f"{accuracy.interval(right.low, right.high)}); test loss {loss.text(mine['loss'].mean)} "
        f"against {loss.text(base['loss'].mean)} ({loss.difference(lost.mean)}, interval "
        f"{loss.interval(lost.low, lost.high)}; {seeds_text(right.n)})."
    )
