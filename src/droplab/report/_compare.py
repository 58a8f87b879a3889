"""Runs side by side: what differs between them in words, and what each has measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from string import ascii_uppercase
from typing import Any

from droplab.errors import ArgumentError
from droplab.report._related import Pooled, Row, differing_values, judged, related
from droplab.results import RunResult
from droplab.verdict import Verdict, WrittenMetric, units_text

MOST_COMPARED = len(ascii_uppercase)
"""Runs side by side: as many as there are letters to call them by."""

_SHORT = 12  # digits of a digest that people compare


@dataclass(frozen=True)
class OneRun:
    """One of the runs.

    Args:
        letter: What it is called beside the others.
        name: Name of its folder.
        recipe: Name of its recipe, which tells nothing of whether two are the same.
        digest: Of its recipe: the beginning of what is the same where all that counts is.
        size: Arms, seeds and epochs in words.
        decides: Label of the metric that decides.
        headline: Its verdict; why there is none, where there is none.
        judged: Whether there is one.
    """

    letter: str
    name: str
    recipe: str
    digest: str
    size: str
    decides: str
    headline: str
    judged: bool


@dataclass(frozen=True)
class ArmRow:
    """One arm of one run.

    Args:
        letter: The run.
        arm: Its name.
        rates: Where it drops, and at which rate.
        seeds: How many seeds it is judged on.
        word: The verdict on it; "baseline" for the baseline.
        difference: Difference to the baseline of its run in the metric that decides, with its
            interval; "" for the baseline.
        cells: A text for each metric: mean and spread, "" where the run did not measure it.
    """

    letter: str
    arm: str
    rates: str
    seeds: int
    word: str
    difference: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class SideBySide:
    """What `compare_runs` returns; every number is text already.

    Args:
        runs: The runs, in the order that was given.
        sentences: How they are related, a sentence each; the first says what differs.
        differing: Every value that differs.
        metrics: Labels of the metrics, the columns of `arms`; the cells have their units.
        arms: Every arm of every run.
        pooled: The arms over the seeds of all runs, where these differ in seeds alone.
    """

    runs: tuple[OneRun, ...]
    sentences: tuple[str, ...]
    differing: tuple[Row, ...]
    metrics: tuple[str, ...]
    arms: tuple[ArmRow, ...]
    pooled: tuple[ArmRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON can hold it."""
        return asdict(self)


def compare_runs(results: Sequence[RunResult]) -> SideBySide:
    """Put runs side by side.

    Whether two runs are of one experiment is decided by the digests of what they follow, never by
    the names of their recipes. Runs of different tasks, metrics and layouts can stand beside each
    other; what one did not measure is left empty.

    Args:
        results: One run or more, as `droplab.results.load` returns them.

    Raises:
        ArgumentError: There is no run, or more than 26, or one is given twice.
    """
    if not 1 <= len(results) <= MOST_COMPARED:
        raise ArgumentError(f"compare: expected 1 to {MOST_COMPARED} runs, got {len(results)}")
    paths = [result.path for result in results]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise ArgumentError(f"compare: {twice} is given twice; give another run beside it")
    letters = ascii_uppercase[: len(results)]
    verdicts = [judged(result) for result in results]
    differing = differing_values(results)
    sentences, pooled = related(results, differing)
    metrics = _columns(verdicts)
    return SideBySide(
        tuple(map(_one, letters, results, verdicts)),
        sentences,
        tuple(differing),
        tuple(metric.label for metric in metrics),
        tuple(
            row
            for letter, found in zip(letters, verdicts, strict=True)
            if isinstance(found, Verdict)
            for row in _arm_rows(letter, found, metrics)
        ),
        _pooled_rows(pooled, metrics) if pooled is not None else (),
    )


def _one(letter: str, result: RunResult, found: Verdict | str) -> OneRun:
    recipe = result.recipe
    metric = result.metrics.get(recipe.primary)
    arms, epochs = len(recipe.arms), recipe.epochs
    size = (
        f"{arms} arm{'' if arms == 1 else 's'} x {units_text(len(recipe.seeds), recipe.data.folds)}"
        f" x {epochs} epoch{'' if epochs == 1 else 's'}"
    )
    return OneRun(
        letter,
        result.path.name if result.path.name != "run.sqlite" else result.path.parent.name,
        recipe.name,
        recipe.digest[:_SHORT],
        size,
        metric.label if metric is not None else recipe.primary,
        found.headline if isinstance(found, Verdict) else found,
        isinstance(found, Verdict),
    )


def _columns(verdicts: Sequence[Verdict | str]) -> list[WrittenMetric]:
    """Return the metrics of all runs, those that decide first."""
    judged = [found for found in verdicts if isinstance(found, Verdict)]
    first = [found.metrics.named(found.primary) for found in judged]
    return list(dict.fromkeys([*first, *(m for found in judged for m in found.metrics.compared)]))


def _arm_rows(letter: str, found: Verdict, metrics: Sequence[WrittenMetric]) -> list[ArmRow]:
    rows: list[ArmRow] = []
    primary = found.metrics.named(found.primary)
    for arm in found.arms:
        cells: list[str] = []
        for metric in metrics:
            has = found.metrics.epoch.get(metric.name) == metric
            summary = arm.metrics[metric.name] if has else None
            if summary is None or not summary.n:
                cells.append("")
                continue
            spread = f" ± {metric.spread(summary.sd)}" if math.isfinite(summary.sd) else ""
            cells.append(metric.text(summary.mean) + spread)
        each = arm.differences.get(found.primary)
        said = ""
        if each is not None and math.isfinite(each.mean):
            said = primary.difference(each.mean)
            if math.isfinite(each.low) and math.isfinite(each.high):
                said += f" [{primary.interval(each.low, each.high)}]"
        rates = found.rates_text(arm.name)
        word = "; ".join(text for _, text in arm.said) or "baseline"
        rows.append(ArmRow(letter, arm.name, rates, len(arm.seeds), word, said, tuple(cells)))
    return rows


def _pooled_rows(pooled: Pooled, metrics: Sequence[WrittenMetric]) -> tuple[ArmRow, ...]:
    """Return the arms over all seeds: with words and intervals only where they may be spoken."""
    found = pooled.verdict
    rows = _arm_rows("", found, metrics)
    if pooled.spoken:
        return tuple(rows)
    bare = {arm.name for arm in found.arms if arm.word is not None}
    return tuple(replace(row, word="") if row.arm in bare else row for row in rows)
