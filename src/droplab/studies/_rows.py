"""What a trained epoch becomes on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from droplab.recipe import Recipe, stopped_epoch
from droplab.results import AnswersRow, BlockRow, EpochRow, ExampleRow, PartRow
from droplab.train import EpochResult
from droplab.train.tasks import Score, gaussian_nll


def row_of(recipe: Recipe, arm: str, seed: int, result: EpochResult) -> EpochRow:
    """Return the row of one replica's epoch."""
    values = {f"train_{name}_running": value for name, value in result.running.items()}
    values |= {f"train_{name}": value for name, value in result.train.items()}
    values |= {f"val_{name}": value for name, value in result.validation.items()}
    values |= {f"stop_{name}": value for name, value in (result.held or {}).items()}
    score = recipe.measures[1]
    gap = values[score.training().name] - values[score.validation.name]
    values["gap"] = gap if score.higher_is_better else -gap
    if "val_nll" in recipe.metrics and recipe.task == "regression":
        values["val_nll"] = gaussian_nll(values["val_rmse"], values["train_rmse"])
    kept = {name: values[name] for name in recipe.metrics}
    return EpochRow(kept, arm, seed, result.epoch, result.seconds)


def deciding_measure(recipe: Recipe) -> str | None:
    """Return what is measured on blocks of the validation examples: the name of the measure.

    None where the metric that decides is of training examples, too: the gap between both, or the
    likelihood of quantities, whose variance the training examples tell.
    """
    if recipe.task == "regression" and recipe.primary == "val_nll":
        return None
    for measure in recipe.measures:
        if measure.validation.name == recipe.primary:
            return measure.name
    return None


def part_rows(arm: str, seed: int, result: EpochResult) -> list[PartRow]:
    """Return what one replica's epoch has of parts of the validation examples, if it has any."""
    rows: list[PartRow] = []
    parts, answers = result.parts, result.answers
    if parts is not None:
        rows.append(BlockRow(arm, seed, result.epoch, parts.blocks, parts.block_weights))
        if parts.examples is not None and parts.example_weights is not None:
            rows.append(ExampleRow(arm, seed, parts.examples, parts.example_weights))
    if answers is not None:
        rows.append(AnswersRow(arm, seed, answers.bins, answers.classes))
    return rows


def stopped_epoch_of(recipe: Recipe, rows: Sequence[EpochRow]) -> int:
    """Return the epoch that early stopping keeps of the replica with these rows, all in order."""
    return stopped_epoch(
        [row.values[recipe.stops_by] for row in rows],
        higher_is_better=recipe.metrics[recipe.primary].higher_is_better,
        patience=recipe.stopping.patience,
        min_gain=recipe.stopping.min_gain,
    )


def tested_values(recipe: Recipe, score: Score, row: EpochRow | None) -> dict[str, float]:
    """Return a score on the test split as its row has it.

    Args:
        recipe: What is measured.
        score: The score.
        row: The row of the epoch whose weights were tested.
    """
    values = dict(score)
    if "nll" in recipe.test_metrics and recipe.task == "regression":
        known = math.nan if row is None else row.values["train_rmse"]
        values["nll"] = gaussian_nll(values["rmse"], known)
    return {name: values[name] for name in recipe.test_metrics}
