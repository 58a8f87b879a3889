"""What a trained epoch becomes on disk, and how good it is."""

from __future__ import annotations

from droplab.recipe import METRICS
from droplab.results import EpochRow
from droplab.train import EpochResult


def row_of(arm: str, seed: int, result: EpochResult) -> EpochRow:
    """Return the row of one replica's epoch."""
    return EpochRow(
        arm=arm,
        seed=seed,
        epoch=result.epoch,
        train_loss_running=result.running_loss,
        train_accuracy_running=result.running_accuracy,
        train_loss=result.train.loss,
        train_accuracy=result.train.accuracy,
        val_loss=result.validation.loss,
        val_accuracy=result.validation.accuracy,
        val_ece=result.validation.ece,
        seconds=result.seconds,
    )


def goodness(row: EpochRow, metric: str) -> float:
    """Return a number that is larger the better the row is by `metric`."""
    value = getattr(row, metric)
    return value if METRICS[metric].higher_is_better else -value
