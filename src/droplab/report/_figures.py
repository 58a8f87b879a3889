"""Which charts a report has, drawn from the rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from droplab.recipe import Recipe
from droplab.report._forest import ROW, ForestRow, draw_forest
from droplab.report._frame import Ids
from droplab.report._grid import draw_grid, grid_of
from droplab.report._lines import Curves, Series, Shade, draw_curves, value_range
from droplab.report._rates import draw_rates, rate_points, rates_of
from droplab.report._reliability import Reliability, draw_reliability
from droplab.report._theme import step
from droplab.results import RunResult
from droplab.verdict import Table, Verdict, WrittenMetric, as_placed, stopped_name

Floats = NDArray[np.float64]
MOST_BANDS = 6
FEWEST_ORDERED = 4
"""With so many rates or more their colours are steps of one scale."""
MOST_NAMED = 10
"""With more arms than this only the baseline, the chosen arm and the last best ones are named."""


@dataclass(frozen=True)
class Figures:
    """The charts of a report, by what they show."""

    curves: tuple[Markup, ...]
    against: tuple[Markup, ...]
    gaps: tuple[Markup, ...]
    differences: tuple[Markup, ...]
    rates: tuple[Markup, ...]
    reliability: tuple[Markup, ...]


@dataclass(frozen=True)
class Source:
    """What charts are drawn from.

    Args:
        result: The run.
        verdict: Its verdict.
        table: Its rows by arm, seed and epoch.
    """

    result: RunResult
    verdict: Verdict
    table: Table

    @classmethod
    def of(cls, result: RunResult, verdict: Verdict) -> Source:
        """Sort the rows of a run."""
        return cls(result, verdict, Table.of_result(result, verdict.primary))

    @property
    def recipe(self) -> Recipe:
        """The recipe, with sites in place of the patterns that its arms name."""
        return as_placed(self.result.recipe, self.result.notes)

    @cached_property
    def _ordered(self) -> list[str]:
        """The arms other than the baseline by their rates, where these are enough for a scale."""
        rates = rates_of(self.recipe) or {}
        others = [name for name in rates if name != self.verdict.baseline]
        return others if len(others) >= FEWEST_ORDERED else []

    def place(self, arm: str) -> int:
        """Return the place of an arm's colour: 0 for the baseline."""
        if arm in self._ordered:
            return step(self._ordered.index(arm), len(self._ordered))
        others = [name for name in self.table.arms if name != self.verdict.baseline]
        return 0 if arm == self.verdict.baseline else 1 + others.index(arm)

    def curve(self, arm: str, metric: str) -> tuple[Floats, Floats, Floats]:
        """Return mean, lower and upper edge (one standard deviation) per epoch over seeds."""
        values = self.table.curves(metric)[self.table.arms.index(arm)]
        with warnings.catch_warnings():
            # An epoch that no seed has reached is NaN, and that is what is wanted.
            warnings.simplefilter("ignore", RuntimeWarning)
            values = np.where(np.isfinite(values), values, math.nan)
            mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
        spread = np.where(np.isfinite(spread), spread, 0.0)
        return mean, mean - spread, mean + spread

    def named(self) -> set[str]:
        """Return the arms that are drawn in the foreground."""
        names = list(self.table.arms)
        if len(names) <= MOST_NAMED:
            return set(names)
        primary = self.verdict.metrics.named(self.verdict.primary)
        means = {a.name: a.metrics[primary.name].mean for a in self.verdict.arms}
        sign = -1.0 if primary.higher_is_better else 1.0
        order = sorted(names, key=lambda n: sign * means[n] if math.isfinite(means[n]) else 1e300)
        kept = {self.verdict.baseline, *order[:2], order[-1]}
        return kept | ({self.verdict.chosen} if self.verdict.chosen else set())


def draw(source: Source, ids: Ids) -> Figures:
    """Return every chart that the run has something to show in."""
    verdict = source.verdict
    known = verdict.metrics
    primary = known.named(verdict.primary)
    compared = [a.name for a in verdict.arms if a.differences]
    metrics = list(dict.fromkeys([primary, known.partner(primary)]))
    early = known.epoch.get(stopped_name(primary.name))
    asked = [primary, *([early] if early else []), *metrics[1:]]
    first = list(dict.fromkeys([known.loss, known.score]))
    points = [
        (metric, rate_points(source.recipe, verdict, metric, _last(source, metric)))
        for metric in metrics
    ]
    grids = [
        draw_grid(ids, m, found) for m in metrics if (found := grid_of(source.recipe, verdict, m))
    ]
    return Figures(
        curves=tuple(all_arms(source, ids, m) for m in first),
        against=tuple(_against(source, ids)),
        gaps=tuple(
            all_arms(source, ids, m)
            for m in known.compared
            if m not in first and m.name in source.result.metrics
        ),
        differences=tuple(forest(source, ids, m) for m in asked) if compared else (),
        rates=(
            *(draw_rates(ids, m, found, verdict.without) for m, found in points if found),
            *grids,
        ),
        reliability=tuple(_reliability(source, ids)),
    )


def _reliability(source: Source, ids: Ids) -> list[Markup]:
    """Return the reliability diagram of the baseline and the chosen arm, if answers were counted.

    It is that of the last epoch, over the replicas that are judged.
    """
    verdict = source.verdict
    if not source.table.at_end:
        return []
    arms: list[Reliability] = []
    for name in filter(None, (verdict.baseline, verdict.chosen)):
        seeds = verdict.arm(name).seeds
        rows = [r for r in source.result.answers if r.arm == name and r.seed in seeds]
        found = Reliability.of(name, source.place(name), rows)
        arms += [found] if found else []
    return [draw_reliability(ids, arms)] if arms else []


def _last(source: Source, metric: WrittenMetric) -> dict[str, Sequence[float]]:
    if metric.name not in source.result.metrics:  # where replicas are stopped early
        early = {arm.name: arm.stopped for arm in source.verdict.arms}
        seeds = source.table.seeds
        return {
            name: [found.values.get(seed, math.nan) if found else math.nan for seed in seeds]
            for name, found in early.items()
        }
    values = source.table.judged(metric.name)
    return {name: row.tolist() for name, row in zip(source.table.arms, values, strict=True)}


def all_arms(source: Source, ids: Ids, metric: WrittenMetric) -> Markup:
    """Return the curves of every arm in one metric."""
    named = source.named()
    several = len(source.table.seeds) > 1
    banded = named
    if len(named) > MOST_BANDS:  # more would hide one another
        banded = named & {source.verdict.baseline, source.verdict.chosen}
    last = _last(source, metric) if several else {}
    arms = [n for n in source.table.arms if n not in named]
    arms += [n for n in source.table.arms if n in named]
    series: list[Series] = []
    for arm in arms:
        mean, low, high = source.curve(arm, metric.name)
        band = several and arm in banded
        series.append(
            Series(
                name=arm,
                place=source.place(arm),
                mean=mean.tolist(),
                low=low.tolist() if band else (),
                high=high.tolist() if band else (),
                faint=arm not in named,
                ring=_ring(source, arm) if arm in named else None,
                seeds=last.get(arm, ()) if band else (),
            )
        )
    over = f"mean over {source.verdict.unit}s"
    note = f"{over}, band: one standard deviation, dots: {source.verdict.unit}s" if several else ""
    if len(named) < len(arms):
        note = f"{over}; {len(arms) - len(named)} further arms in the background"
    label = metric.title + (f", {metric.unit}" if metric.unit else "")
    return draw_curves(ids, Curves(label, series, percent=metric.fraction, note=note))


def _ring(source: Source, arm: str) -> float | None:
    """Return the mean epoch at which early stopping ends an arm; None where that is not known."""
    early = source.verdict.arm(arm).stopped
    if early is None or not early.epochs:
        return None
    return sum(early.epochs.values()) / len(early.epochs)


def _against(source: Source, ids: Ids) -> list[Markup]:
    """Return training against validation, for the baseline and the chosen arm."""
    arms = [source.verdict.baseline]
    if source.verdict.chosen:
        arms.append(source.verdict.chosen)
    charts: list[Markup] = []
    metrics = source.verdict.metrics
    for metric in dict.fromkeys([metrics.loss, metrics.score]):
        kind, percent = metric.bare, metric.fraction
        drawn = {arm: _train_and_validation(source, arm, metric) for arm in arms}
        y_range = value_range([s for each in drawn.values() for s in each])
        for arm, series in drawn.items():
            found = source.verdict.diagnosis
            mark = None
            if (
                metric == metrics.loss
                and arm == source.verdict.baseline
                and found
                and found.rise > 0.05
            ):
                mark = (found.best_epoch, "lowest")
            charts.append(
                draw_curves(
                    ids,
                    Curves(
                        f"'{arm}': {kind}{', %' if percent else ''}",
                        series,
                        percent=percent,
                        note=source.verdict.without
                        if arm == source.verdict.baseline
                        else source.verdict.rates_text(arm)
                        if source.verdict.column
                        else "with dropout",
                        y_range=y_range,
                        shade=Shade(0, 1, source.place(arm)) if len(series) > 1 else None,
                        mark=mark,
                    ),
                )
            )
    return charts


def _train_and_validation(source: Source, arm: str, metric: WrittenMetric) -> list[Series]:
    """Return the curves of a metric on validation and training examples, as far as there are."""
    metrics = source.verdict.metrics
    drawn = (
        (metrics.examples, metric, ""),
        ("training", metrics.training(metric), "7 3"),
        ("running", metrics.training(metric, running=True), "1.5 3.5"),
    )
    return [
        Series(
            name,
            source.place(arm),
            source.curve(arm, each.name)[0].tolist(),
            pattern=pattern,
            ring=_ring(source, arm),
        )
        for name, each, pattern in drawn
        if each
    ]


def forest(source: Source, ids: Ids, metric: WrittenMetric, *, row_height: float = ROW) -> Markup:
    """Return the paired differences of every arm in one metric."""
    last = _last(source, metric)
    base = np.array(last[source.verdict.baseline])
    rows = [
        ForestRow(
            arm.name,
            source.place(arm.name),
            arm.differences[metric.name],
            (np.array(last[arm.name]) - base).tolist(),
        )
        for arm in source.verdict.arms
        if metric.name in arm.differences
    ]
    return draw_forest(ids, metric, rows, source.verdict.baseline, row_height=row_height)
