"""Each arm against the baseline: means, paired differences, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._family import Asked
from droplab.verdict._margin import Margin
from droplab.verdict._method import UNSTABLE, Method
from droplab.verdict._metrics import WrittenMetric, stopped_name
from droplab.verdict._notes import About
from droplab.verdict._paired import p_text, paired, summary
from droplab.verdict._stopped import Stopped
from droplab.verdict._table import Table
from droplab.verdict._types import ArmVerdict, Difference, Question, StoppedArm, Word

Floats = NDArray[np.float64]

NOT_SHOWN = "not shown to help"
"""The word for an arm of which neither an effect nor its absence was shown."""


def judge_arms(
    table: Table,
    primary: WrittenMetric,
    by: Method,
    about: About,
    asked: Sequence[Asked],
    stopped: Stopped | None,
    margin: Margin,
) -> tuple[ArmVerdict, ...]:
    """Return what is to be said of every arm, in the recipe's order.

    Args:
        table: The rows.
        primary: The metric that decides.
        by: How differences are judged.
        about: What is known of data and model.
        asked: The questions, and what the rows answer.
        stopped: What stopping early gives, as far as it is known.
        margin: The smallest improvement of interest.
    """
    done = table.done()
    baseline = table.arms.index(table.recipe.baseline.name)
    metrics = table.metrics.epoch
    values = {name: table.judged(name) for name in metrics}
    differences = {
        name: paired(table.arms, table.compared(name), baseline, metric, by)
        for name, metric in metrics.items()
    }
    of = {each.question: each for each in asked}
    if "budget" in of:
        differences[primary.name] = dict(of["budget"].differences)
    seconds = table.curves("seconds")
    verdicts: list[ArmVerdict] = []
    for i, arm in enumerate(table.recipe.arms):
        mine = {name: found[arm.name] for name, found in differences.items() if arm.name in found}
        lost = [seed for seed in table.seeds if (arm.name, seed) in table.diverged]
        answers: dict[Question, tuple[Word | None, str]] = {
            each.question: _answer(arm.name, each, primary, lost, by, margin) for each in asked
        }
        word, sentence = answers[asked[0].question]
        early = _stopped(arm.name, i, table, stopped, of.get("stopped"), answers)
        means = {name: summary(found[i]) for name, found in values.items()}
        if early is not None:
            means[stopped_name(primary.name)] = early.summary
            if early.difference is not None:
                mine[stopped_name(primary.name)] = early.difference
        verdicts.append(
            ArmVerdict(
                name=arm.name,
                rates=dict(about.rates.get(arm.name, arm.rates)),
                seeds=tuple(s for j, s in enumerate(table.seeds) if done[i, j]),
                metrics=means,
                differences=mine,
                word=word,
                sentence=sentence,
                seconds=_mean_seconds(seconds[i]),
                existing=dict(arm.existing),
                schedule=str(arm.schedule or ""),
                stopped=early,
            )
        )
    return tuple(verdicts)


def _stopped(
    name: str,
    i: int,
    table: Table,
    stopped: Stopped | None,
    asked: Asked | None,
    answers: Mapping[Question, tuple[Word | None, str]],
) -> StoppedArm | None:
    if stopped is None or asked is None:
        return None
    word, sentence = answers["stopped"]
    epochs = {s: int(e) for s, e in zip(table.seeds, stopped.epochs[i], strict=True) if e}
    values = zip(table.seeds, stopped.values[i].tolist(), strict=True)
    return StoppedArm(
        summary(stopped.values[i]),
        asked.differences.get(name),
        word,
        sentence,
        epochs,
        {seed: value for seed, value in values if math.isfinite(value)},
    )


def _mean_seconds(seconds: Floats) -> float:
    """Return the time of a replica, over those that have rows."""
    begun = seconds[~np.isnan(seconds).all(axis=1)]
    return float(np.nansum(begun, axis=1).mean()) if len(begun) else math.nan


def _answer(
    name: str, asked: Asked, primary: WrittenMetric, lost: list[int], by: Method, margin: Margin
) -> tuple[Word | None, str]:
    """Return the word and the sentence of one arm to one question."""
    if name not in asked.differences:
        return None, f"'{name}' is the baseline."
    found = asked.differences[name]
    early = " stopped early" if asked.question == "stopped" else ""
    if lost:
        seeds = "seed" if len(lost) == 1 else "seeds"
        return UNSTABLE, (
            f"'{name}' is unstable: a loss became NaN or infinite on {seeds} "
            f"{', '.join(map(str, lost))}; the other seeds alone would flatter it, so no verdict "
            "is given."
        )
    if not by.enough(found.n):
        return by.no_word, f"'{name}'{early}: {by.too_few(found.n)}."
    excluded = name in asked.excluded
    measured = (
        f"{primary.difference(found.mean)} in {primary.label} "
        f"({100 * by.level:g} % interval {primary.interval(found.low, found.high)}, "
        f"p = {p_text(found.p)}, {by.count(found.n)})"
    )
    if found.better is False:
        return "hurts", f"'{name}'{early} hurts: {measured}."
    if found.better:
        word = f"helps, by less than {margin.text}" if excluded else "helps"
        return word, f"'{name}'{early} {word}: {measured}."
    if found.low == found.high == 0:
        same = f"{primary.label} is exactly the same on every {by.unit}"
        return NOT_SHOWN, f"'{name}'{early} is {NOT_SHOWN}: {same}."
    if excluded:
        word = f"does not help by {margin.text} or more"
        return word, f"'{name}'{early} {word}: {measured}."
    reach = sees_text([found], primary, by)
    return NOT_SHOWN, f"'{name}'{early} is {NOT_SHOWN}: {measured}; {reach}."


def sees_text(found: Sequence[Difference], primary: WrittenMetric, by: Method) -> str:
    """Say from where on an improvement would have been seen in every one of these arms.

    The mean moves the interval with it. So the word is "helps" from the mean on whose better end
    is 0: as far from 0 as the end is from the mean.
    """
    reach = [d.mean - d.low if primary.higher_is_better else d.high - d.mean for d in found]
    if not all(map(math.isfinite, reach)):
        return f"{by.units} that scatter like these cannot show an improvement"
    return f"{by.units} that scatter like these see improvements from {primary.size(max(reach))} on"
