"""What the chosen arm and the baseline reached on the test split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from droplab.errors import ArgumentError
from droplab.results import RunResult, TestRow
from droplab.verdict._method import NO_WORD, Method
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._paired import paired, summary
from droplab.verdict._types import ArmVerdict, Difference, Summary, TestVerdict


def judge_test(
    result: RunResult,
    metrics: RunMetrics,
    verdicts: Sequence[ArmVerdict],
    chosen: str | None,
    primary: str,
    by: Method,
) -> TestVerdict | None:
    """Return what the test split says after all epochs, and where replicas were stopped early.

    None if it was not touched.
    """
    last = _judge_rows(result, result.tests, metrics, chosen, by)
    if last is None:
        return None
    early = _judge_rows(result, result.stopped_tests, metrics, chosen, by)
    arms, differences = last
    sentence = _sentence(chosen, arms, differences, metrics, by)
    before = next((arm for arm in verdicts if arm.name == chosen), None)
    if before is not None and differences:
        sentence += _disagreement(before, differences, primary, metrics)
    if early is None:
        return TestVerdict(arms, differences, sentence)
    said = _sentence(chosen, *early, metrics, by, early=True)
    return TestVerdict(arms, differences, f"{sentence} {said}", TestVerdict(*early, said))


def _judge_rows(
    result: RunResult,
    rows: Sequence[TestRow],
    metrics: RunMetrics,
    chosen: str | None,
    by: Method,
) -> tuple[dict[str, dict[str, Summary]], dict[str, Difference]] | None:
    """Return means and paired differences of the chosen arm; None without rows.

    As on the validation examples, an arm has no number in a metric that is not finite on some
    seed: the mean over the others would flatter it.
    """
    recipe = result.recipe
    known = {(row.arm, row.seed): row.values for row in rows}
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
    for metric in metrics.test.values():
        values = np.array(
            [
                [known.get((name, seed), {}).get(metric.name, math.nan) for seed in recipe.seeds]
                for name in names
            ]
        )
        touched = np.array([[(name, seed) in known for seed in recipe.seeds] for name in names])
        values[(touched & ~np.isfinite(values)).any(axis=1)] = math.nan
        for name, row in zip(names, values, strict=True):
            arms[name][metric.name] = summary(row)
        if recipe.baseline.name in names:
            baseline = names.index(recipe.baseline.name)
            differences[metric.name] = {}
            for name, found in paired(names, values, baseline, metric, by).items():
                differences[metric.name][name] = found
    mine = (
        {m: found[chosen] for m, found in differences.items() if chosen in found} if chosen else {}
    )
    return arms, mine


def _sentence(
    chosen: str | None,
    arms: dict[str, dict[str, Summary]],
    differences: dict[str, Difference],
    metrics: RunMetrics,
    by: Method,
    *,
    early: bool = False,
) -> str:
    if chosen not in arms or not differences:
        which = ", ".join(f"'{name}'" for name in arms)
        when = ", stopped early," if early else ""
        return f"The test split was touched by {which}{when} alone."
    said = list(dict.fromkeys((next(iter(metrics.test)), "loss")))
    shown = [(metrics.test[name], differences[name]) for name in said if name in metrics.test]
    if not all(found.n for _, found in shown):
        when = ", stopped early," if early else ""
        return (
            f"On the test split{when} '{chosen}' and the baseline cannot be compared: they "
            f"have no {by.unit} in common on which every number is finite, or a number of theirs "
            "became NaN or infinite."
        )
    (metric, found), *others = shown
    before, after = metric.text(found.before), metric.text(found.after)
    texts = [
        f"gets {after} right and the baseline {before} ({_change(metric, found)}"
        if metrics.counts_right
        else f"has a {metric.label} of {after} and the baseline one of {before} "
        f"({_change(metric, found)}"
    ]
    texts += [
        f"{other.label} {other.text(each.after)} against {other.text(each.before)} "
        f"({_change(other, each)}"
        for other, each in others
    ]
    listed = "); ".join(texts)
    where = "Stopped early" if early else "On the test split, touched once"
    return f"{where}, '{chosen}' {listed}; {by.count(found.n)})."


def _change(metric: WrittenMetric, found: Difference) -> str:
    change = metric.difference(found.mean)
    if math.isinf(found.low) and math.isinf(found.high):  # too few seeds, as a caveat says
        return f"{change}, no interval"
    return f"{change}, interval {metric.interval(found.low, found.high)}"


def _disagreement(
    arm: ArmVerdict, differences: Mapping[str, Difference], primary: str, metrics: RunMetrics
) -> str:
    """Say where the test split contradicts what the validation examples said of the chosen arm."""
    name = primary.removeprefix("val_")
    if name not in differences or not primary.startswith("val_") or arm.word in NO_WORD:
        return ""
    there, here = differences[name], arm.differences[primary]
    turned = there.mean * here.mean < 0
    found = there.better is not None and arm.word == "not shown to help"
    if not there.n or not here.n or not (turned or found):
        return ""
    label, metric = metrics.named(primary), metrics.test[name]
    clear = "" if there.better is None else ", an interval without 0"
    return (
        f" Validation and test disagree: '{arm.name}' {_said(arm)} by {label.label} "
        f"({label.difference(here.mean)}), and has {metric.difference(there.mean)} in "
        f"{metric.label}{clear}."
    )


def _said(arm: ArmVerdict) -> str:
    return f"is {arm.word}" if arm.word == "not shown to help" else str(arm.word)
