"""The verdict in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from droplab.verdict._arms import sees_text
from droplab.verdict._method import Method
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._types import ArmVerdict


def headline(
    arms: Sequence[ArmVerdict],
    best: str | None,
    primary: WrittenMetric,
    metrics: RunMetrics,
    by: Method,
    about: About,
) -> str:
    """Return the verdict on dropout as a whole, in one sentence or two.

    Args:
        arms: Every arm; the baseline is the one without a word.
        best: The arm with the best mean, the baseline among the candidates; None if there is none.
        primary: The metric that decides.
        metrics: All that was measured.
        by: How differences are judged.
        about: What is known of data and model.
    """
    others = [arm for arm in arms if arm.word is not None]
    own = "Changed dropout" if about.changed else "Dropout beyond the model's own"
    subject = own if about.own_dropout else "Dropout"
    said = _on_dropout(subject, others, primary, by)
    return _with_constant(said, arms, best, metrics, about)


def _on_dropout(
    subject: str,
    others: Sequence[ArmVerdict],
    primary: WrittenMetric,
    by: Method,
) -> str:
    if not others:
        return "There is no arm with dropout, so there is nothing to compare."
    by_mean = sorted(others, key=lambda arm: _badness(arm, primary))
    of = {
        word: [arm for arm in by_mean if arm.word == word]
        for word in ("helps", "hurts", "not shown to help", "too few seeds")
    }
    if of["helps"]:
        return f"{subject} helps: {_change(of['helps'][0], primary, by)}."
    same, hurting, few = of["not shown to help"], of["hurts"], of["too few seeds"]
    if same:
        plain = _not_shown(same, primary, by)
        verb = "hurts" if len(hurting) == 1 else "hurt"
        also_hurt = f", and {_names(hurting)} {verb}" if hurting else ""
        return f"{subject} is not shown to help: {plain}{also_hurt}."
    if len(hurting) == len(others):
        which = "" if len(hurting) == 1 else "even at its best "
        return f"{subject} hurts: {which}{_change(hurting[0], primary, by)}."
    if hurting:
        rest = [arm for arm in by_mean if arm.word != "hurts"]
        return (
            f"{subject} is not shown to help: {_change(hurting[0], primary, by)}, "
            f"which hurts, and there is no verdict on {_names(rest)}."
        )
    if not few:
        return (
            "No verdict: every arm with dropout had a loss that became NaN or infinite on some "
            f"{by.unit}."
        )
    n = few[0].differences[primary.name].n
    if n == 0:
        return f"No verdict: '{few[0].name}' has {by.too_few(n)}."
    return f"No verdict yet: {by.too_few(n)}. So far, {_change(few[0], primary, None)}."


def also(chosen: ArmVerdict | None, primary: WrittenMetric, metrics: RunMetrics, by: Method) -> str:
    """Return what the chosen arm does to the score, or to the loss where the score decides.

    One of them alone is easily taken for the other: dropout often helps the first to no avail of
    the second.
    """
    metric = metrics.partner(primary)
    if chosen is None or chosen.word in ("too few seeds", "unstable") or metric == primary:
        return ""
    found = chosen.differences[metric.name]
    if found.n == 0:
        return ""
    before, after = metric.apart(found.before, found.after)
    said = f"{metric.title} with '{chosen.name}' is {after} against {before}"
    if found.low == found.high == 0:
        return f"{said}, the same on every {by.unit}."
    holds = ", which holds 0" if found.better is None else ""
    return (
        f"{said}, a difference of {metric.difference(found.mean)} ({100 * by.level:g} % interval "
        f"{metric.interval(found.low, found.high)}{holds})."
    )


def _change(arm: ArmVerdict, primary: WrittenMetric, by: Method | None) -> str:
    found = arm.differences[primary.name]
    move = "stays at" if found.mean == 0 else "rises from" if found.mean > 0 else "falls from"
    before, after = primary.apart(found.before, found.after)
    to = f" to {after}" if found.mean else ""
    text = f"with '{arm.name}' {primary.label} {move} {before}{to}"
    if by is None:
        return text
    percent = f"{100 * by.level:g} %"
    return (
        f"{text}, a difference of {primary.difference(found.mean)} "
        f"({percent} interval {primary.interval(found.low, found.high)}, {by.count(found.n)})"
    )


def _not_shown(same: Sequence[ArmVerdict], primary: WrittenMetric, by: Method) -> str:
    """Say what the best of these arms did, and what could have been seen in all of them."""
    found = [arm.differences[primary.name] for arm in same]
    if all(d.low == d.high == 0 for d in found):
        return f"{primary.label} is exactly the same on every {by.unit}"
    which = "" if len(same) == 1 else "at its best "
    return f"{which}{_change(same[0], primary, by)}; {sees_text(found, primary, by)}"


def _with_constant(
    said: str,
    arms: Sequence[ArmVerdict],
    best: str | None,
    metrics: RunMetrics,
    about: About,
) -> str:
    """Say which arms get no more right than the answer that is always the same."""
    if not metrics.counts_right:
        return said
    right = metrics.score
    means = {arm.name: arm.metrics[right.name].mean for arm in arms}
    below = [name for name, mean in means.items() if mean <= about.share]
    if about.commonest is None or not below:
        return said
    constant = f"'{about.commonest}'"
    rest = [arm for arm in arms if arm.name in below and arm.name != best]
    if best in below:
        mine, share = right.apart(means[best], about.share)
        said = (
            f"No better than a constant answer: always {constant} gets {share} of the validation "
            f"examples right, and the best arm, '{best}', {mine}. {said}"
        )
        if rest:
            said += f" {_names(rest)} {_verb(rest)} no more right than that either."
    else:
        said += (
            f" {_names(rest)} {_verb(rest)} no more right than the constant answer {constant}, "
            f"{right.text(about.share)}."
        )
    return said


def _verb(arms: Sequence[ArmVerdict]) -> str:
    return "gets" if len(arms) == 1 else "get"


def _badness(arm: ArmVerdict, primary: WrittenMetric) -> float:
    mean = arm.metrics[primary.name].mean
    return (-mean if primary.higher_is_better else mean) if math.isfinite(mean) else math.inf


def _names(arms: Sequence[ArmVerdict]) -> str:
    """Quote and join names: 'a', 'b' and 'c'."""
    quoted = [f"'{arm.name}'" for arm in arms]
    if len(quoted) > 4:
        return f"{len(quoted)} arms"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
