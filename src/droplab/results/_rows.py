"""What one experiment measured, as plain frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from droplab.recipe import METRICS, TEST_METRICS, Metric, Recipe

State = Literal["waiting", "running", "done", "nan"]
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
        return others | {
            name: value if math.isfinite(value) else None for name, value in self.values.items()
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
