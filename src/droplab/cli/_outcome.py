"""What a run came to: the verdict with its surroundings, as text and as one JSON document."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from droplab.results import RunResult, scored_at
from droplab.verdict import Difference, Summary, Verdict, judge, metric

SHOWN = {
    "train_accuracy_running": "train,\nrunning",
    "train_accuracy": "train",
    "val_accuracy": "validation",
    "gap": "gap",
    "val_loss": "validation\nloss",
    "val_ece": "calibration\nerror",
}
"""The metrics of the table, with their headings."""

WIDE = 110
"""Columns from which a mean and its spread or interval stand on one line."""

COMPARED = ("val_accuracy", "gap", "val_loss", "val_ece")


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


def outcome(result: RunResult) -> Outcome:
    """Judge a run, if its baseline is there to be compared with."""
    trained = {row.arm for row in result.rows}
    judged = result.recipe.baseline.name in trained
    return Outcome(result, judge(result) if judged else None)


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
        console.print(_means(verdict, scored, wide=console.width >= WIDE))
        if any(arm.differences for arm in verdict.arms):
            console.print(_differences(verdict, wide=console.width >= WIDE))
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
    console.print(f"\nRun: {result.path}", highlight=False, soft_wrap=True)
    console.print(f"Report: droplab report {result.path}", highlight=False, soft_wrap=True)


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
        show_edge=False,
        leading=0,
    )


def _means(verdict: Verdict, scored: str, *, wide: bool) -> Table:
    seeds = max(len(arm.seeds) for arm in verdict.arms)
    spread = f", mean ± standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    part = f"; training {scored}" if scored else ""
    table = _table(f"After epoch {verdict.epoch}{spread} (accuracies in %{part})")
    table.add_column("arm", overflow="fold")
    for heading in SHOWN.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in verdict.arms:
        cells = [_spread(name, arm.metrics.get(name), wide) for name in SHOWN]
        table.add_row(escape(arm.name), *cells)
    return table


def _differences(verdict: Verdict, *, wide: bool) -> Table:
    table = _table(
        f"\nDifference to '{escape(verdict.baseline)}', paired by seed, with the "
        f"{verdict.level:.0%} interval for all arms at once"
    )
    table.add_column("arm", overflow="fold")
    for name in COMPARED:
        table.add_column(SHOWN[name], justify="right", no_wrap=True)
    for arm in verdict.arms:
        if arm.differences:
            cells = [_interval(name, arm.differences.get(name), wide) for name in COMPARED]
            table.add_row(escape(arm.name), *cells)
    return table


def _spread(name: str, summary: Summary | None, wide: bool) -> str:
    if summary is None or not math.isfinite(summary.mean):
        return "-"
    text = metric(name).text(summary.mean).split(" ")[0]
    if not math.isfinite(summary.sd):
        return text
    return text + (" " if wide else "\n") + f"±{metric(name).spread(summary.sd)}"


def _interval(name: str, difference: Difference | None, wide: bool) -> str:
    if difference is None or not math.isfinite(difference.mean):
        return "-"
    write = metric(name)
    text = write.difference(difference.mean, unit=False)
    if math.isfinite(difference.low) and math.isfinite(difference.high):
        ends = [write.difference(end, unit=False) for end in (difference.low, difference.high)]
        text += (" " if wide else "\n") + rf"\[{ends[0]}, {ends[1]}]"
    colour = {True: "green", False: "red", None: ""}[difference.better]
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _show_rows(result: RunResult, console: Console) -> None:
    last = {(row.arm, row.seed): row for row in result.rows}
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("arm", "seed", "epoch", *SHOWN.values()):
        table.add_column(heading, justify="right")
    for row in last.values():
        cells = [metric(name).text(getattr(row, name)) for name in SHOWN]
        table.add_row(escape(row.arm), str(row.seed), str(row.epoch), *cells)
    console.print(table)
    parts = {scored_at(result.plan, row.epoch, result.recipe.epochs) for row in last.values()}
    for part in sorted(filter(None, parts)):
        console.print(f"Before the last epoch, training is {part}.", highlight=False)
    console.print(
        f"No verdict: the baseline '{result.recipe.baseline.name}' was not trained.",
        highlight=False,
    )
