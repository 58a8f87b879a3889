"""Absence: whether an improvement as large as the margin can be excluded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import FURTHER, LOSSES, MARGIN, TASKS, Recipe
from droplab.verdict._examples import ExamplesError
from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Margin:
    """The smallest improvement that anybody would care for.

    Attributes:
        share: As a share of the baseline's distance from a perfect model; NaN if a size is given.
        size: In the metric's own unit; NaN if it is a share.
        metric: The metric.
        perfect: What a perfect model has; NaN if that is not known.
    """

    share: float
    size: float
    metric: WrittenMetric
    perfect: float = math.nan

    @classmethod
    def of(cls, recipe: Recipe, metric: WrittenMetric) -> Margin:
        """Return the margin of a recipe; a size is about the metric that decides in it."""
        if recipe.margin_size is not None and metric.name == recipe.primary:
            return cls(math.nan, recipe.margin_size, metric)
        share = MARGIN if recipe.margin is None else recipe.margin
        return cls(share, math.nan, metric, _perfect(recipe, metric))

    @property
    def text(self) -> str:
        """As a word has it."""
        if math.isfinite(self.size):
            return self.metric.size(self.size)
        return f"{100 * self.share:g} %"

    def of_baseline(self, values: Floats) -> Floats:
        """Return the size beside each value of the baseline; NaN where there is no such.

        Without a size given nothing can be said about absence in a metric of which nobody knows
        what perfect is, and neither where a value is beyond it.
        """
        if math.isfinite(self.size):
            return np.full(values.shape, self.size)
        if not math.isfinite(self.perfect):
            return np.full(values.shape, math.nan)
        distance = self.perfect - values if self.metric.higher_is_better else values - self.perfect
        if (distance[np.isfinite(distance)] < 0).any():
            return np.full(values.shape, math.nan)
        return self.share * distance

    def excluded(
        self,
        differences: Floats,
        baseline: Floats,
        by: Method,
        examples: ExamplesError | None,
    ) -> bool:
        """Return whether an improvement by the margin or more is refused, pair by pair.

        The test is one-sided at 1 - level, for this arm alone: a claim about all arms needs every
        one of these tests, and no correction. Where the pairs all rest on the same examples, the
        interval with the examples' error has to agree.

        Args:
            differences: Arm minus baseline, shape (pairs,); NaN where one is missing.
            baseline: The baseline on the same pairs.
            by: How differences are judged.
            examples: The examples' error; None if it is not known, and then nothing is excluded.
        """
        better = differences if self.metric.higher_is_better else -differences
        over = better - self.of_baseline(baseline)
        over = over[np.isfinite(over)]
        if not by.enough(len(over)) or (examples is None and not by.rows_vary):
            return False
        level = 1 - 2 * (1 - by.level)  # the better end of this interval is the one-sided bound
        (found,) = replace(by, level=level).compare(over[None])
        end = found.high
        if examples is not None:
            end = examples.widened(found.mean, found.low, found.high, level)[1]
        return end < 0


def _perfect(recipe: Recipe, metric: WrittenMetric) -> float:
    """Return what a perfect model has in a metric: 0 in an error, 1 in a score; NaN if unknown.

    It is not known of metrics and losses of one's own, nor of smoothed labels, whose least loss is
    above 0, nor of a likelihood of quantities, which has no bound.
    """
    task = recipe.task or "classification"
    loss = recipe.loss
    smoothed = loss is not None and "label_smoothing" in loss.arguments
    bottomless = smoothed or (loss is not None and loss.name not in LOSSES)
    known = {each.validation.name: each.perfect for each in (*TASKS[task], *FURTHER[task])}
    if recipe.loop is not None or (metric.name == "val_loss" and bottomless):
        return math.nan
    return known.get(metric.name, math.nan)
