"""The rows as arrays: arms x seeds x epochs, checked to be of one experiment."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from droplab.errors import ArgumentError
from droplab.recipe import Recipe
from droplab.results import EpochRow, Member, RunResult
from droplab.verdict._metrics import RunMetrics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The rows of one run, by arm, seed and epoch.

    Args:
        recipe: The recipe that the rows follow.
        arms: Names of the arms, in the recipe's order.
        seeds: Seeds, in the recipe's order.
        epoch: The epoch at which arms are judged, from 1: the recipe's last one, or as far as all
            replicas have come if none of some arm has finished, or if an own loop trained them. 0
            without rows.
        diverged: (arm, seed) of the replicas with a loss, or a number in the metric that decides,
            that is not finite; whether it is NaN or infinite makes no difference.
        metrics: What was measured.
    """

    recipe: Recipe
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    epoch: int
    diverged: frozenset[tuple[str, int]]
    metrics: RunMetrics
    _rows: dict[tuple[str, int, int], EpochRow]
    _curves: dict[str, Floats] = field(
        default_factory=dict[str, Floats], init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        rows: Iterable[EpochRow],
        members: Iterable[Member] = (),
        primary: str | None = None,
        metrics: RunMetrics | None = None,
    ) -> Table:
        """Sort the rows of one run.

        Args:
            recipe: The recipe that they follow.
            rows: The rows.
            members: State of the replicas.
            primary: The metric that decides; None for the recipe's own.
            metrics: What was measured; None for what the recipe says.

        Raises:
            ArgumentError: A row is there twice, or of an arm, seed or epoch that the recipe does
                not have: results of two recipes were mixed.
        """
        members = tuple(members)
        if recipe.loop is not None:  # a trial that failed, or goes on, counts for nothing yet
            ended = {(m.arm, m.seed) for m in members if m.state in ("done", "nan")}
            rows = [row for row in rows if (row.arm, row.seed) in ended]
        arms = tuple(arm.name for arm in recipe.arms)
        expected = {(arm, seed) for arm in arms for seed in recipe.seeds}
        known: dict[tuple[str, int, int], EpochRow] = {}
        for row in rows:
            place = (row.arm, row.seed, row.epoch)
            if (row.arm, row.seed) not in expected or not 1 <= row.epoch <= recipe.epochs:
                raise ArgumentError(
                    f"{_where(row)}: is not part of recipe '{recipe.name}' "
                    f"(arms {', '.join(arms)}; seeds {', '.join(map(str, recipe.seeds))}; "
                    f"{recipe.epochs} epochs); do not mix the results of two recipes"
                )
            if place in known:
                raise ArgumentError(
                    f"{_where(row)}: is there twice; do not mix the results of two runs, pool them"
                )
            known[place] = row
        diverged = {(m.arm, m.seed) for m in members if m.state == "nan"}
        metrics = metrics or RunMetrics.of(recipe)
        decisive = (metrics.loss.name, primary or recipe.primary)
        diverged |= {
            (r.arm, r.seed)
            for r in known.values()
            if not all(math.isfinite(r.values.get(name, math.nan)) for name in decisive)
        }
        epoch = _judged_epoch(recipe, known, diverged)
        return cls(recipe, arms, recipe.seeds, epoch, frozenset(diverged), metrics, known)

    @classmethod
    def of_result(cls, result: RunResult, primary: str | None = None) -> Table:
        """Sort the rows of a run that was read from disk."""
        metrics = RunMetrics.of(result)
        return cls.of(result.recipe, result.rows, result.members, primary, metrics)

    @property
    def at_end(self) -> bool:
        """Whether arms are judged after the last epoch."""
        return self.epoch == self.recipe.epochs

    def values(self, metric: str) -> Floats:
        """Return a metric at the judged epoch, shape (arms, seeds); NaN where there is no row."""
        found = np.full((len(self.arms), len(self.seeds)), math.nan)
        for i, arm in enumerate(self.arms):
            for j, seed in enumerate(self.seeds):
                row = self._rows.get((arm, seed, self.epoch))
                found[i, j] = math.nan if row is None else _value(row, metric)
        return found

    def curves(self, metric: str) -> Floats:
        """Return a metric over time, shape (arms, seeds, epochs); NaN where no number is.

        It is looked up once, and not to be written to: a page asks for it at every arm.
        """
        if metric in self._curves:
            return self._curves[metric]
        found = np.full((len(self.arms), len(self.seeds), self.recipe.epochs), math.nan)
        at = {name: i for i, name in enumerate(self.arms)}
        seed_at = {seed: i for i, seed in enumerate(self.seeds)}
        for (arm, seed, epoch), row in self._rows.items():
            found[at[arm], seed_at[seed], epoch - 1] = _value(row, metric)
        found.setflags(write=False)
        self._curves[metric] = found
        return found

    def judged(self, metric: str) -> Floats:
        """Return a metric of the judged replicas, shape (arms, seeds); NaN for all others.

        An arm has no number in a metric that is not finite in one of its replicas: a mean over
        the others would flatter it.
        """
        done = self.done()
        values = np.where(done, self.values(metric), math.nan)
        values[(done & np.isnan(values)).any(axis=1)] = math.nan
        return values

    def compared(self, metric: str) -> Floats:
        """Return what enters the comparison of arms: as judged, without the unstable arms.

        An arm that lost a replica is left out whole: the seeds that survived would flatter it. A
        baseline that lost some is compared on the others, which flatters no other arm.
        """
        lost = {arm for arm, _ in self.diverged} - {self.recipe.baseline.name}
        values = self.judged(metric)
        values[[name in lost for name in self.arms]] = math.nan
        return values

    def done(self) -> NDArray[np.bool_]:
        """Return which replicas are judged, shape (arms, seeds): those with a sound last row."""
        there = ~np.isnan(self.values(self.metrics.loss.name))
        for i, arm in enumerate(self.arms):
            for j, seed in enumerate(self.seeds):
                there[i, j] &= (arm, seed) not in self.diverged
        return there


def _where(row: EpochRow) -> str:
    return f"verdict: arm '{row.arm}', seed {row.seed}, epoch {row.epoch}"


def _value(row: EpochRow, metric: str) -> float:
    value = row.seconds if metric == "seconds" else row.values.get(metric, math.nan)
    return math.nan if math.isinf(value) else value


def _judged_epoch(
    recipe: Recipe,
    rows: dict[tuple[str, int, int], EpochRow],
    diverged: set[tuple[str, int]],
) -> int:
    last: dict[tuple[str, int], int] = {}
    for arm, seed, epoch in rows:
        if (arm, seed) not in diverged:
            last[arm, seed] = max(epoch, last.get((arm, seed), 0))
    if not last:
        return 0
    if recipe.loop is not None:  # how long a trial trains is up to the loop
        return min(last.values())
    begun = {arm for arm, _ in last}
    finished = {arm for (arm, _), epoch in last.items() if epoch == recipe.epochs}
    comparable = recipe.baseline.name in finished and len(finished) > 1
    return recipe.epochs if comparable or begun == finished else min(last.values())
