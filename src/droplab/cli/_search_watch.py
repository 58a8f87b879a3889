"""How a search is shown while it goes on."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from droplab.recipe import Recipe
from droplab.results import EpochRow, SearchRecord
from droplab.searches import Asked, SearchObserver
from droplab.verdict import RunMetrics


class SearchWatch(SearchObserver):
    """Shows the best plan after each generation, and on a terminal a bar with the time left.

    Args:
        console: Where it is shown.
        recipe: What is searched.
        asked: How much.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, recipe: Recipe, asked: Asked, *, quiet: bool) -> None:
        self._console, self._quiet, self._asked = console, quiet, asked
        self._metrics, self._epochs = RunMetrics.of(recipe), recipe.epochs
        confirm = asked.confirm_seeds or len(recipe.seeds)
        # what the search takes, and the last run, in epochs of a replica
        self._searched = asked.search_epochs(recipe.epochs)
        self._last = (1 + asked.finalists) * confirm * recipe.epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> SearchWatch:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def data_progress(self, what: str, done: int, total: int | None) -> None:
        if not self._quiet and done == 0:
            self._console.print(what, highlight=False, markup=False)

    def planning(self) -> None:
        if not self._quiet:
            self._console.print("measuring how to train fastest", highlight=False)

    def generation(self, number: int, of: int) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=self._searched + self._last)
        done = self._asked.search_epochs(self._epochs, number - 1)
        self._bar.update(self._task, completed=done, description=f"generation {number} of {of}")

    def epoch_done(self, row: EpochRow) -> None:
        if self._task is not None:
            self._bar.update(self._task, advance=1)

    def diverged(self, arm: str, seed: int, message: str) -> None:
        if not self._quiet:
            self._console.print(
                f"{arm}, seed {seed} is stopped: {message}", highlight=False, markup=False
            )

    def told(self, record: SearchRecord) -> None:
        if self._quiet:
            return
        generation = max((plan.generation for plan in record.plans), default=0)
        name, sign = record.objective[0], -1 if record.higher[0] else 1
        metric = self._metrics.named(name)
        values = [
            (sign * value, plan)
            for plan in record.plans
            if plan.state == "done"
            and plan.met
            and plan.generation
            and (value := plan.values.get(name)) is not None
        ]
        text = "no plan that can be kept yet"
        if values:
            value, best = min(values, key=lambda item: item[0])
            base = record.baseline.get(name)
            text = f"best {metric.label} {metric.text(sign * value)}, {best.name}"
            text += f" (baseline {metric.text(base)})" if base is not None else ""
        self._console.print(
            escape(f"generation {generation}: {len(record.plans)} plans, {text}"), highlight=False
        )

    def confirming(self, plans: tuple[str, ...]) -> None:
        if self._task is not None:
            self._bar.update(
                self._task, completed=self._searched, description="fresh seeds and examples"
            )
        if not self._quiet:
            names = ", ".join(plans)
            self._console.print(
                f"training {names} and the baseline again, on fresh seeds", highlight=False
            )
