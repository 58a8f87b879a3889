"""What a run came to: the verdict with its surroundings, as text and as one JSON document."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from droplab.results import ELSEWHERE, RunResult, scored_at
from droplab.verdict import (
    Difference,
    Question,
    RunMetrics,
    Summary,
    Verdict,
    WrittenMetric,
    judge,
    units_text,
)

WIDE = 110
"""Columns from which a mean and its spread or interval stand on one line."""

NAME = 12
"""Letters of an arm's name that are shown before its name goes on in another line."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished run and its verdict.

    Attributes:
        result: The run.
        verdict: What it shows; None if the baseline was not among the arms that were trained.
    """

    result: RunResult
    verdict: Verdict | None

    @property
    def target_met(self) -> bool | None:
        """Whether the recipe's target is met; None if it has none, or cannot be judged."""
        if self.verdict is None or self.verdict.target is None:
            return None
        return self.verdict.target.met

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; what is not finite is None."""
        result = self.result
        return {
            "recipe": result.recipe.name,
            "digest": result.recipe.digest,
            "run": str(result.path),
            "plan": dict(result.plan),
            "environment": dict(result.environment),
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "rows": [row.to_dict() for row in result.rows],
            "tests": [row.to_dict() for row in result.tests],
        }


def outcome(result: RunResult, question: Question | None = None) -> Outcome:
    """Judge a run, if its baseline is there to be compared with; None asks both questions."""
    trained = {row.arm for row in result.rows}
    judged = result.recipe.baseline.name in trained
    return Outcome(result, judge(result, question=question) if judged else None)


def show(found: Outcome, console: Console) -> None:
    """Print the before/after table, the diagnosis, the target and where everything is."""
    result, verdict = found.result, found.verdict
    if verdict is None:
        _show_rows(result, console)
    else:
        console.print(f"\n[bold]{escape(verdict.headline)}[/bold]\n", highlight=False)
        if verdict.also:
            console.print(f"{escape(verdict.also)}\n", highlight=False)
        scored = scored_at(result.plan, verdict.epoch, result.recipe.epochs)
        console.print(_means(verdict, scored, console.width))
        if any(arm.differences for arm in verdict.arms):
            console.print(_differences(verdict, console.width))
        console.print()
        sentences = [
            verdict.diagnosis and verdict.diagnosis.sentence,
            verdict.best and verdict.best.sentence,
            verdict.target and verdict.target.sentence,
            verdict.test and verdict.test.sentence,
            verdict.cost.sentence,
        ]
        for sentence in filter(None, sentences):
            console.print(escape(sentence), highlight=False)
        for caveat in verdict.caveats:
            console.print(f"[dim]Note: {escape(caveat)}[/dim]", highlight=False)
    if ELSEWHERE in result.notes:
        return
    console.print(f"\nRun: {result.path}", highlight=False, soft_wrap=True)
    console.print(f"Report: droplab report {result.path}", highlight=False, soft_wrap=True)


def shown_metrics(metrics: RunMetrics) -> tuple[WrittenMetric, ...]:
    """Return what the table shows, in its order: the score on all examples, then the others."""
    eval_mode, *running = metrics.score_on_training or (metrics.score,)
    score = dict.fromkeys([*running, eval_mode, metrics.score])
    others = [each for each in metrics.compared if each not in (metrics.loss, metrics.score)]
    gap = [each for each in others if each.name == "gap"]
    return tuple(dict.fromkeys([*score, *gap, metrics.loss, *others]))


def heading(metric: WrittenMetric) -> str:
    r"""Return the label of a metric as a narrow heading, with its unit.

    Example:
        >>> from droplab.recipe import load
        >>> heading(RunMetrics.of(load("digits")).score).split("\n")
        ['validation', 'accuracy', '%']
    """
    return escape("\n".join([*metric.label.split(), *filter(None, [metric.unit])]))


def _tables(
    title: str, arms: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]], width: int
) -> Group:
    """Return one table, or as many under each other as are needed for all columns to be read.

    Args:
        title: What they show.
        arms: The name of each row.
        columns: The heading and the cells of each column.
        width: Columns of the terminal.
    """
    room = width - min(max(map(cell_len, arms)), NAME)
    batches: list[list[tuple[str, Sequence[str]]]] = [[]]
    used = 0
    for name, cells in columns:
        lines = [
            line for cell in (name, *cells) for line in Text.from_markup(cell).plain.split("\n")
        ]
        size = max(map(cell_len, lines)) + 3
        if batches[-1] and used + size > room:
            batches.append([])
            used = 0
        batches[-1].append((name, cells))
        used += size
    return Group(*(_table("" if i else title, arms, each) for i, each in enumerate(batches)))


def _table(title: str, arms: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> Table:
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
        show_edge=False,
        leading=0,
    )
    table.add_column("arm", overflow="fold")
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for i, arm in enumerate(arms):
        table.add_row(escape(arm), *(cells[i] for _, cells in columns))
    return table


def _means(verdict: Verdict, scored: str, width: int) -> Group:
    count = max(len(arm.seeds) for arm in verdict.arms)
    over = units_text(count, verdict.folds)
    spread = f", mean ± standard deviation over {over}" if count > 1 else f", one {verdict.unit}"
    part = f" (training {scored})" if scored else ""
    columns = [
        (heading(each), [_spread(each, a.metrics[each.name], width >= WIDE) for a in verdict.arms])
        for each in shown_metrics(verdict.metrics)
    ]
    title = f"{verdict.when.capitalize()}{spread}{part}"
    return _tables(title, [arm.name for arm in verdict.arms], columns, width)


def _differences(verdict: Verdict, width: int) -> Group:
    arms = [arm for arm in verdict.arms if arm.differences]
    columns = [
        (heading(each), [_interval(each, a.differences[each.name], width >= WIDE) for a in arms])
        for each in shown_metrics(verdict.metrics)
        if each.split == "validation"
    ]
    title = (
        f"\nDifference to '{escape(verdict.baseline)}', paired by {verdict.unit}, with the "
        f"{verdict.level:.0%} interval {verdict.at_once}"
    )
    return _tables(title, [arm.name for arm in arms], columns, width)


def _spread(metric: WrittenMetric, summary: Summary, wide: bool) -> str:
    if not math.isfinite(summary.mean):
        return "-"
    text = metric.text(summary.mean).split(" ")[0]
    if not math.isfinite(summary.sd):
        return text
    return text + (" " if wide else "\n") + f"±{metric.spread(summary.sd)}"


def _interval(metric: WrittenMetric, difference: Difference, wide: bool) -> str:
    if not math.isfinite(difference.mean):
        return "-"
    text = metric.difference(difference.mean, unit=False)
    if math.isfinite(difference.low) and math.isfinite(difference.high):
        ends = [metric.difference(end, unit=False) for end in (difference.low, difference.high)]
        text += (" " if wide else "\n") + rf"\[{ends[0]}, {ends[1]}]"
    colour = {True: "green", False: "red", None: ""}[difference.better]
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _show_rows(result: RunResult, console: Console) -> None:
    last = {(row.arm, row.seed): row for row in result.rows}
    columns = [
        ("seed", [str(row.seed) for row in last.values()]),
        ("epoch", [str(row.epoch) for row in last.values()]),
    ]
    columns += [
        (heading(each), [each.text(row.values.get(each.name, math.nan)) for row in last.values()])
        for each in shown_metrics(RunMetrics.of(result))
    ]
    console.print(_tables("", [row.arm for row in last.values()], columns, console.width))
    parts = {scored_at(result.plan, row.epoch, result.recipe.epochs) for row in last.values()}
    for part in sorted(filter(None, parts)):
        console.print(f"Before the last epoch, training is {part}.", highlight=False)
    console.print(
        f"No verdict: the baseline '{result.recipe.baseline.name}' was not trained.",
        highlight=False,
    )
