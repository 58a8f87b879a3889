"""What one experiment measured, as plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from droplab.recipe import Recipe

State = Literal["waiting", "running", "done", "nan"]
STATES: tuple[str, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What one replica measured at the end of one epoch.

    Accuracies, calibration error and everything else between 0 and 1 are fractions, never per
    cent. A value that could not be measured is NaN.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        epoch: Number of the epoch, from 1.
        train_loss_running: Mean loss over the epoch's mini-batches, dropout on.
        train_accuracy_running: Accuracy over the same mini-batches, dropout on.
        train_loss: Loss over the training set after the epoch, in eval mode; over a part of it
            where the run's plan says so (`scored_note`), but after the last epoch over all of it.
        train_accuracy: Accuracy over the same examples.
        val_loss: Loss over the validation set, in eval mode.
        val_accuracy: Accuracy over the validation set, in eval mode.
        val_ece: Expected calibration error over the validation set, 15 bins of equal width.
        seconds: Time that the epoch took, without the time of other replicas.

    Example:
        >>> row = EpochRow("none", 0, 1, 0.9, 0.70, 0.6, 0.80, 0.7, 0.75, 0.02, 1.5)
        >>> round(row.gap, 2)
        0.05
    """

    arm: str
    seed: int
    epoch: int
    train_loss_running: float
    train_accuracy_running: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_ece: float
    seconds: float

    @property
    def gap(self) -> float:
        """Training accuracy less validation accuracy, both in eval mode."""
        return self.train_accuracy - self.val_accuracy


@dataclass(frozen=True, slots=True)
class BatchRow:
    """The mean loss of the mini-batches since the previous such row (`--log-every`).

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        step: Number of optimizer steps taken so far, over all epochs.
        loss: Mean loss of the mini-batches since the previous row.
    """

    arm: str
    seed: int
    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class TestRow:
    """What one replica reached on the official test split, which is touched once.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        loss: Mean loss.
        accuracy: Accuracy, a fraction.
        ece: Expected calibration error, 15 bins of equal width.
    """

    __test__ = False  # pytest: a row, not a test

    arm: str
    seed: int
    loss: float
    accuracy: float
    ece: float


@dataclass(frozen=True, slots=True)
class Member:
    """How far one replica has come.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        state: One of `STATES`.
        epochs_done: Number of epochs whose rows are confirmed.
        message: Why it stopped, if there is something to say.
    """

    arm: str
    seed: int
    state: State = "waiting"
    epochs_done: int = 0
    message: str = ""


@dataclass(frozen=True)
class RunResult:
    """Everything that a run left behind, read from disk.

    Args:
        path: The run's folder (or the one file, when that was read alone).
        recipe: The recipe that the run follows.
        environment: Machine and versions, see `environment()`.
        rows: One row for each arm, seed and epoch, in the recipe's order of arms and seeds.
        tests: Results on the official test split, if it was touched.
        members: State of every replica, in the same order.
        notes: Named texts: "patch" (source patch), "data" (sizes as JSON), "dropout" (what the
            model drops by itself, as JSON), and so on.
        batches: Mean losses of mini-batches, if the run logged them.
        plan: The execution plan, as the engine wrote it.
        created: When the run began, ISO 8601 in UTC.
    """

    path: Path
    recipe: Recipe
    environment: Mapping[str, Any]
    rows: tuple[EpochRow, ...]
    tests: tuple[TestRow, ...] = ()
    members: tuple[Member, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    batches: tuple[BatchRow, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created: str = ""
