"""What one experiment measured, as plain frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import METRICS, TEST_METRICS, Metric, Recipe

State = Literal["waiting", "running", "done", "nan", "failed"]
STATES: tuple[str, ...] = get_args(State)


@dataclass(frozen=True)
class Measured:
    """Numbers by the names of metrics; each of them can also be read as an attribute.

    Fractions are between 0 and 1, never per cent. What could not be measured is NaN.

    Args:
        values: Metric -> number.

    Example:
        >>> Measured({"loss": 0.4, "accuracy": 0.9}).accuracy
        0.9
    """

    values: Mapping[str, float] = field(hash=False)

    def __getattr__(self, name: str) -> float:
        """Return the number of a metric.

        Raises:
            AttributeError: If it was not measured.
        """
        if not name.startswith("_") and name != "values" and name in self.values:
            return self.values[name]
        raise AttributeError(f"expected a metric that was measured, got '{name}'")

    def to_dict(self) -> dict[str, Any]:
        """Return one flat table, the metrics beside the rest, as JSON can hold it: NaN is None."""
        others = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        found = {**others, **self.values}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }


@dataclass(frozen=True)
class EpochRow(Measured):
    """What one replica measured at the end of one epoch.

    Metrics with "running" in their name are means over the epoch's mini-batches, dropout on; the
    others are measured after the epoch, in eval mode. Those of training examples are over a part of
    them where the run's plan says so (`scored_note`), but after the last epoch over all of them.

    Args:
        values: Metric -> number, of every metric of the run: see `Recipe.metrics`.
        arm: Name of the arm.
        seed: Seed of the replica.
        epoch: Number of the epoch, from 1.
        seconds: Time that the epoch took, without the time of other replicas.

    Example:
        >>> row = EpochRow({"val_loss": 0.7, "val_accuracy": 0.75}, "none", 0, 1, 1.5)
        >>> row.val_accuracy
        0.75
    """

    arm: str
    seed: int
    epoch: int
    seconds: float


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


@dataclass(frozen=True)
class TestRow(Measured):
    """What one replica reached on the test split, which is touched once.

    Args:
        values: Metric -> number, of every metric of the test split: see `Recipe.test_metrics`.
        arm: Name of the arm.
        seed: Seed of the replica.
    """

    __test__ = False  # pytest: a row, not a test

    arm: str
    seed: int


@dataclass(frozen=True)
class StoppedTestRow(TestRow):
    """What one replica reached on the test split with the weights of its stopped epoch.

    Args:
        values: Metric -> number, as in `TestRow`.
        arm: Name of the arm.
        seed: Seed of the replica.
        epoch: The epoch that early stopping keeps: see `droplab.recipe.stopped_epoch`.
    """

    __test__ = False

    epoch: int


@dataclass(frozen=True, slots=True)
class BlockRow:
    """The primary metric of one replica after one epoch, on each block of validation examples.

    The blocks are the same for all arms and epochs, and as far as seeds have the same examples
    for all seeds.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        epoch: Number of the epoch, from 1.
        values: The metric on each of the `BLOCKS` blocks; NaN where it cannot be had.
        weights: What each block weighs. Where the metric is a mean over examples that is the sum
            of their weights, so that the weighted mean over the blocks is the metric of the epoch's
            row; else the number of its examples.
    """

    arm: str
    seed: int
    epoch: int
    values: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ExampleRow:
    """The primary metric of one replica after the last epoch, on each validation example.

    There are such rows where the metric is a mean over examples. The examples stand in the same
    order for all arms of a seed.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        values: float32 (N,), of each example; 0 where it weighs nothing.
        weights: float32 (N,), what each example weighs in the mean.
    """

    arm: str
    seed: int
    values: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AnswersRow:
    """What one replica answers on the validation examples after the last epoch, counted.

    There are such rows where every example is of one class.

    Args:
        arm: Name of the arm.
        seed: Seed of the replica.
        bins: For each of the bins of equal width that confidences from 0 to 1 fall into: how many
            answers are in it, the sum of their confidences, and how many are right.
        classes: For each class: how many examples have it, and how many of them are found. Empty
            where there are more than 100 classes.
    """

    arm: str
    seed: int
    bins: tuple[tuple[int, float, int], ...]
    classes: tuple[tuple[int, int], ...]


PartRow = BlockRow | ExampleRow | AnswersRow
"""What a replica has of parts of the validation examples."""


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
        tests: Results on the test split, if it was touched.
        members: State of every replica, in the same order.
        notes: Named texts: "patch" (source patch), "data" (sizes as JSON), "dropout" (what the
            model drops by itself, as JSON), and so on.
        batches: Mean losses of mini-batches, if the run logged them.
        plan: The execution plan, as the engine wrote it.
        created: When the run began, ISO 8601 in UTC.
        metrics: What was measured after every epoch, by name, as it is stored with the run.
        test_metrics: What was measured on the test split, by name.
        blocks: The primary metric on blocks of the validation examples, one row for each of
            `rows`; empty where none were kept, as in runs of earlier versions.
        examples: The primary metric on each validation example after the last epoch.
        stopped_tests: Results on the test split at the stopped epoch, of the replicas of `tests`.
        answers: What validation examples are answered after the last epoch, counted; empty where
            answers are no classes, and in runs of earlier versions.
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
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    test_metrics: Mapping[str, Metric] = field(default_factory=lambda: TEST_METRICS)
    blocks: tuple[BlockRow, ...] = ()
    examples: tuple[ExampleRow, ...] = ()
    stopped_tests: tuple[StoppedTestRow, ...] = ()
    answers: tuple[AnswersRow, ...] = ()

    def __repr__(self) -> str:
        """Name the run; its rows are too many to be read in a line."""
        arms, seeds = len(self.recipe.arms), len(self.recipe.seeds)
        return f"RunResult({str(self.path)!r}, {arms} arms x {seeds} seeds, {len(self.rows)} rows)"
