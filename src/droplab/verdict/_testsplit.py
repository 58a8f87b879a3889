"""What the chosen arm and the baseline reached on the test split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from droplab.errors import ArgumentError
from droplab.recipe import Recipe
from droplab.results import TestRow
from droplab.verdict._arms import paired, seeds_text, summary
from droplab.verdict._metrics import METRICS, TEST_METRICS
from droplab.verdict._types import ArmVerdict, Difference, Summary, TestVerdict


def judge_test(
    recipe: Recipe,
    rows: Iterable[TestRow],
    verdicts: Sequence[ArmVerdict],
    chosen: str | None,
    primary: str,
    level: float,
) -> TestVerdict | None:
    """Return means and paired differences on the test split; None if it was not touched.

    As on the validation examples, an arm has no number in a metric that is not finite on some
    seed: the mean over the others would flatter it.
    """
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
        touched = np.array([[(name, seed) in known for seed in recipe.seeds] for name in names])
        values[(touched & ~np.isfinite(values)).any(axis=1)] = math.nan
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
    sentence = _sentence(chosen, arms, mine)
    before = next((arm for arm in verdicts if arm.name == chosen), None)
    if before is not None and mine:
        sentence += _disagreement(before, mine, primary)
    return TestVerdict(arms, mine, sentence)


def _sentence(
    chosen: str | None,
    arms: dict[str, dict[str, Summary]],
    differences: dict[str, Difference],
) -> str:
    accuracy, loss = TEST_METRICS["accuracy"], TEST_METRICS["loss"]
    if chosen not in arms or not differences:
        which = ", ".join(f"'{name}'" for name in arms)
        return f"The test split was touched by {which} alone."
    right, lost = differences["accuracy"], differences["loss"]
    if not right.n or not lost.n:
        return (
            f"On the test split '{chosen}' and the baseline cannot be compared: they "
            "have no seed in common on which every number is finite, or a number of theirs became "
            "NaN or infinite."
        )
    return (
        f"On the test split, touched once, '{chosen}' gets "
        f"{accuracy.text(right.after)} right and the baseline "
        f"{accuracy.text(right.before)} ({accuracy.difference(right.mean)}, interval "
        f"{accuracy.interval(right.low, right.high)}); test loss {loss.text(lost.after)} "
        f"against {loss.text(lost.before)} ({loss.difference(lost.mean)}, interval "
        f"{loss.interval(lost.low, lost.high)}; {seeds_text(right.n)})."
    )


def _disagreement(arm: ArmVerdict, differences: Mapping[str, Difference], primary: str) -> str:
    """Say where the test split contradicts what the validation examples said of the chosen arm."""
    name = primary.removeprefix("val_")
    if name not in differences or primary not in METRICS or not primary.startswith("val_"):
        return ""
    there, here = differences[name], arm.differences[primary]
    turned = there.mean * here.mean < 0
    found = there.better is not None and arm.word == "not shown to help"
    if not there.n or not here.n or not (turned or found):
        return ""
    label, metric = METRICS[primary], TEST_METRICS[name]
    clear = "" if there.better is None else ", an interval without 0"
    return (
        f" Validation and test disagree: '{arm.name}' {_said(arm)} by {label.label} "
        f"({label.difference(here.mean)}), and has {metric.difference(there.mean)} in "
        f"{metric.label}{clear}."
    )


def _said(arm: ArmVerdict) -> str:
    return f"is {arm.word}" if arm.word == "not shown to help" else str(arm.word)
