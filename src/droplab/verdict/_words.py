"""The verdict in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from droplab.verdict._arms import no_difference, seeds_text, too_few
from droplab.verdict._metrics import METRICS, Metric
from droplab.verdict._types import ArmVerdict


def headline(
    baseline: ArmVerdict, others: Sequence[ArmVerdict], primary: Metric, level: float
) -> str:
    """Return the verdict on dropout as a whole, in one sentence.

    Args:
        baseline: The arm without dropout.
        others: The other arms.
        primary: The metric that decides.
        level: Coverage of the intervals.
    """
    if not others:
        return "There is no arm with dropout, so there is nothing to compare."
    judged = [arm for arm in others if arm.word != "unstable"]
    if not judged:
        return "No verdict: every arm with dropout ended in NaN on some seed."
    helping = _sorted([arm for arm in judged if arm.word == "helps"], primary)
    if helping:
        return f"Dropout helps: {_change(baseline, helping[0], primary, level)}."
    told = [arm for arm in judged if arm.word != "too few seeds"]
    if not told:
        best = _sorted(judged, primary)[0]
        n = best.differences[primary.name].n
        if n == 0:
            return f"No verdict: '{best.name}' has {too_few(n)}."
        return f"No verdict yet: {too_few(n)}. So far, {_change(baseline, best, primary, None)}."
    hurting = [arm for arm in told if arm.word == "hurts"]
    same = [arm for arm in told if arm.word == "no difference"]
    if not same:
        least = _sorted(hurting, primary)[0]
        which = "" if len(hurting) == 1 else "even at its best "
        return f"Dropout hurts: {which}{_change(baseline, least, primary, level)}."
    plain = _none(same, primary)
    if hurting:
        names = _names([arm.name for arm in hurting])
        verb = "hurts" if len(hurting) == 1 else "hurt"
        return f"Dropout does not help here: {plain}, and {names} {verb}."
    return f"Dropout makes no difference that can be told: {plain}."


def also(baseline: ArmVerdict, chosen: ArmVerdict | None, primary: Metric, level: float) -> str:
    """Return what the chosen arm does to accuracy, or to loss where accuracy decides.

    One of them alone is easily taken for the other: dropout often helps the first to no avail of
    the second.
    """
    metric = METRICS["val_loss" if primary.name == "val_accuracy" else "val_accuracy"]
    if chosen is None or chosen.word in ("too few seeds", "unstable") or metric == primary:
        return ""
    found = chosen.differences[metric.name]
    after, before = (metric.text(arm.metrics[metric.name].mean) for arm in (chosen, baseline))
    if found.better is None:
        return (
            f"{metric.label.capitalize()} with '{chosen.name}' is {after} against {before}: "
            f"{no_difference(found, metric)}."
        )
    return (
        f"{metric.label.capitalize()} with '{chosen.name}' is {after} against {before}, a "
        f"difference of {metric.difference(found.mean)} ({100 * level:g} % interval "
        f"{metric.interval(found.low, found.high)})."
    )


def _change(baseline: ArmVerdict, arm: ArmVerdict, primary: Metric, level: float | None) -> str:
    found = arm.differences[primary.name]
    before, after = baseline.metrics[primary.name].mean, arm.metrics[primary.name].mean
    move = "stays at" if found.mean == 0 else "rises" if found.mean > 0 else "falls"
    values = (
        primary.text(after)
        if found.mean == 0
        else f"from {primary.text(before)} to {primary.text(after)}"
    )
    text = f"with '{arm.name}' {primary.label} {move} {values}"
    if level is None:
        return text
    percent = f"{100 * level:g} %"
    return (
        f"{text}, a difference of {primary.difference(found.mean)} "
        f"({percent} interval {primary.interval(found.low, found.high)}, {seeds_text(found.n)})"
    )


def _none(same: Sequence[ArmVerdict], primary: Metric) -> str:
    """Say what could have stayed unseen in any of these arms."""
    found = [arm.differences[primary.name] for arm in same]
    widest = max(found, key=lambda d: max(abs(d.low), abs(d.high)))
    if all(d.low == d.high == 0 for d in found):
        return f"{primary.label} is exactly the same on every seed"
    text = no_difference(widest, primary)
    if len(same) == 1:
        where = f" with '{same[0].name}'"
    else:
        where = f" with any of {_names([arm.name for arm in same])}"
    if math.isinf(max(abs(widest.low), abs(widest.high))):
        return f"{text}{where} ({primary.label}, {seeds_text(widest.n)})"
    return f"{text} in {primary.label}{where} ({seeds_text(widest.n)})"


def _sorted(arms: Sequence[ArmVerdict], primary: Metric) -> list[ArmVerdict]:
    sign = -1.0 if primary.higher_is_better else 1.0

    def key(arm: ArmVerdict) -> float:
        mean = arm.metrics[primary.name].mean
        return math.inf if math.isnan(mean) else sign * mean

    return sorted(arms, key=key)


def _names(names: Sequence[str]) -> str:
    """Quote and join names: 'a', 'b' and 'c'."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > 4:
        return f"{len(quoted)} arms"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
