"""Is the target met?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from droplab.recipe import Recipe, Target
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._types import ArmVerdict, ConditionVerdict, TargetVerdict

_SIGNS = {">=": "≥", "<=": "≤", ">": ">", "<": "<"}


def condition_text(metric: WrittenMetric, op: str, value: float) -> str:
    """Write a condition: "validation accuracy ≥ 85.0 %"."""
    return f"{metric.label} {_SIGNS[op]} {metric.exact(value)}"


def reached_text(metric: WrittenMetric, condition: ConditionVerdict) -> str:
    """Write what was reached, so that the number and whether it was met agree."""
    if not math.isfinite(condition.reached):
        return "without a finite number"
    return metric.beside(condition.reached, condition.value)


def judge_target(
    recipe: Recipe, metrics: RunMetrics, arms: Sequence[ArmVerdict], chosen: str | None
) -> TargetVerdict | None:
    """Judge every condition for every arm, on the mean over seeds; None without a target.

    The target is met when the chosen arm meets it: another arm that happens to would have to be
    chosen by looking at the target.
    """
    if recipe.target is None:
        return None
    conditions = [(metrics.named(c.metric), c) for c in recipe.target.conditions]
    found = {arm.name: _conditions(recipe.target, arm) for arm in arms}
    met_by = tuple(name for name, each in found.items() if all(c.met for c in each))
    met = chosen in met_by
    target = " and ".join(condition_text(metric, c.op, c.value) for metric, c in conditions)
    if chosen is None:
        return TargetVerdict(False, met_by, found, f"Target ({target}): no arm to judge.")
    reached = ", ".join(
        f"{metric.label} {reached_text(metric, c)}"
        for (metric, _), c in zip(conditions, found[chosen], strict=True)
    )
    sentence = f"Target {'met' if met else 'missed'} ({target}): '{chosen}' reaches {reached}."
    others = [f"'{name}'" for name in met_by if name != chosen]
    if others:
        sentence += f" {'Also met' if met else 'Met'} by {', '.join(others)}."
    return TargetVerdict(met, met_by, found, sentence)


def _conditions(target: Target, arm: ArmVerdict) -> tuple[ConditionVerdict, ...]:
    sound = arm.word != "unstable"
    return tuple(
        ConditionVerdict(c.metric, c.op, c.value, mean, sound and c.met(mean))
        for c in target.conditions
        for mean in (_at(c.value, arm.metrics[c.metric].mean),)
    )


def _at(bound: float, mean: float) -> float:
    """Return the bound where the mean is no other number but for rounding."""
    return bound if math.isclose(mean, bound, rel_tol=1e-9, abs_tol=1e-12) else mean
