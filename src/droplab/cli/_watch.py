"""The live table of a run, and its plain form where there is no terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.table import Table

from droplab.recipe import Recipe
from droplab.results import EpochRow, TestRow, plan_sentence, scored_note
from droplab.studies import Forecast, Observer, named
from droplab.train import ExecutionPlan
from droplab.verdict import RunMetrics, WrittenMetric

_PLANNING = "measuring how to train fastest"


class Watch(Observer):
    """Shows a run as it goes: a live table on a terminal, a line a replica elsewhere.

    Args:
        console: Where it is shown.
        recipe: What is run, as it was announced.
        arms: Names of the arms that are trained.
        quiet: Show nothing but the lines of `log_every`.
        status: The spinner that turns until training begins, if there is one.
    """

    def __init__(
        self,
        console: Console,
        recipe: Recipe,
        arms: Sequence[str],
        *,
        quiet: bool = False,
        status: Status | None = None,
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._arms = list(arms)
        self._metrics = RunMetrics.of(recipe)
        self._newest: dict[str, EpochRow] = {}
        self._finished: dict[str, int] = dict.fromkeys(arms, 0)
        self._recipe = recipe
        self._status = status
        self._scored = 0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._fetching = False
        self._task: TaskID | None = None
        self._live: Live | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()
        self._end_bars()

    def data_progress(self, what: str, done: int, total: int | None) -> None:
        if self._quiet:
            return
        if not self._console.is_terminal:
            if done == 0:
                self._console.print(what)
            return
        self._end_status()
        known = {task.description: task.id for task in self._bars.tasks}
        if what not in known:
            known[what] = self._bars.add_task(what, total=total)
            self._bars.start()
            self._fetching = True
        self._bars.update(known[what], completed=done, total=total)

    def planning(self) -> None:
        self._end_bars()
        if self._status is not None:
            self._status.update(_PLANNING)
            self._status.start()
        elif not self._quiet:
            self._console.print(_PLANNING, highlight=False)

    def expected(self, cost: Forecast) -> None:
        self._end_status()
        if not self._quiet:
            self._console.print(cost.sentence, highlight=False, soft_wrap=True)

    def noted(self, note: str) -> None:
        if not self._quiet:
            self._console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)

    def started(
        self, recipe: Recipe, folder: Path, plan: ExecutionPlan, steps: int, steps_done: int
    ) -> None:
        announced, self._recipe = self._recipe, recipe
        self._metrics = RunMetrics.of(recipe)
        self._end_status()
        self._scored = plan.score_train
        self._end_bars()
        if self._quiet:
            return
        if len(recipe.seeds) != len(announced.seeds):
            self._console.print(
                f"This run has {len(recipe.seeds)} of the {len(announced.seeds)} seeds: "
                f"{', '.join(map(str, recipe.seeds))}",
                highlight=False,
            )
        stored = plan.to_dict()
        said = (plan_sentence(stored), scored_note(stored), f"run folder: {folder}")
        self._console.print(
            "\n".join(filter(None, said)),
            highlight=False,
            markup=False,  # a reason may quote somebody's own code
            soft_wrap=True,
        )
        if self._console.is_terminal:
            for task in list(self._bars.tasks):
                self._bars.remove_task(task.id)
            self._task = self._bars.add_task("training", total=steps, completed=steps_done)
            self._live = Live(self._view(), console=self._console, refresh_per_second=4)
            self._live.start()

    def steps_done(self, members: Sequence[tuple[str, int]], steps: int) -> None:
        if self._task is not None:
            self._bars.update(self._task, advance=steps * len(members), description=named(members))

    def group_halved(self, before: int, after: int) -> None:
        self._console.print(
            f"not enough memory for {before} replicas together: going on with {after}",
            highlight=False,
        )

    def diverged(self, arm: str, seed: int, message: str) -> None:
        self._console.print(
            f"arm {arm}, seed {seed} is stopped: {message}", highlight=False, markup=False
        )

    def batches_logged(self, arm: str, seed: int, step: int, loss: float) -> None:
        self._console.print(
            f"arm {arm}, seed {seed}, step {step:>6}: mean loss {loss:.4f}", highlight=False
        )

    def epoch_done(self, row: EpochRow) -> None:
        self._newest[row.arm] = row
        last = row.epoch == self._recipe.epochs
        self._finished[row.arm] = self._finished.get(row.arm, 0) + last
        if self._live is not None:
            self._live.update(self._view())
        elif last and not self._quiet:
            shown = self._shown(self._metrics.score_on_training[:1])
            texts = [f"{each.label} {self._text(each, row)}" for each in shown]
            self._console.print(
                f"arm {row.arm}, seed {row.seed}: {', '.join(texts)}", highlight=False
            )

    def tested(self, row: TestRow) -> None:
        self._end_live()

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()

    def _end_bars(self) -> None:
        if self._fetching:
            self._bars.stop()
            self._fetching = False

    def _shown(self, before: Sequence[WrittenMetric]) -> list[WrittenMetric]:
        """Return what is shown of a replica: score, loss, and what decides, if it is neither."""
        known = self._metrics
        after = (known.score, known.loss, known.named(self._recipe.primary))
        return list(dict.fromkeys([*before, *after]))

    def _text(self, metric: WrittenMetric, row: EpochRow) -> str:
        return metric.text(row.values.get(metric.name, math.nan))

    def _view(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("arm")
        known = self._metrics
        shown = self._shown([*reversed(known.score_on_training)])
        for name in ("seeds done", "seed", "epoch"):
            table.add_column(name, justify="right")
        for metric in shown:
            in_part = self._scored and metric in known.score_on_training[:1]
            part = f"\n(on {self._scored})" if in_part else ""
            table.add_column("\n".join(metric.label.rsplit(" ", 1)) + part, justify="right")
        seeds = len(self._recipe.seeds)
        for arm in self._arms:
            row = self._newest.get(arm)
            done = f"{self._finished.get(arm, 0)}/{seeds}"
            if row is None:
                table.add_row(arm, done, *[""] * (2 + len(shown)))
                continue
            table.add_row(
                arm,
                done,
                str(row.seed),
                str(row.epoch),
                *(self._text(metric, row) for metric in shown),
            )
        return Group(table, self._bars)
