"""What a trained epoch becomes on disk, and how good it is."""

from __future__ import annotations

from droplab.recipe import Metric, Recipe
from droplab.results import EpochRow
from droplab.train import EpochResult


def row_of(recipe: Recipe, arm: str, seed: int, result: EpochResult) -> EpochRow:
    """Return the row of one replica's epoch."""
    values = {f"train_{name}_running": value for name, value in result.running.items()}
    values |= {f"train_{name}": value for name, value in result.train.items()}
    values |= {f"val_{name}": value for name, value in result.validation.items()}
    score = recipe.measures[1]
    gap = values[score.training().name] - values[score.validation.name]
    values["gap"] = gap if score.higher_is_better else -gap
    kept = {name: values[name] for name in recipe.metrics}
    return EpochRow(kept, arm, seed, result.epoch, result.seconds)


def goodness(row: EpochRow, metric: Metric) -> float:
    """Return a number that is larger the better the row is by `metric`."""
    value = row.values[metric.name]
    return value if metric.higher_is_better else -value
