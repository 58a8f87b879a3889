"""A metric: what it is called, its unit, which way is better, and of what examples it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

Unit = Literal["", "%", "points"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a run, as data: it is stored with the run, and everyone reads it from there.

    Args:
        name: Its name in recipes and rows.
        label: Its name in a sentence.
        higher_is_better: Whether more of it is better.
        unit: "%" or "points" (a difference of percentages) where the value is a fraction; "" else.
        split: The examples that it is measured on; for `gap`, those that it is about.

    Example:
        >>> error = Metric("val_ece", "calibration error", False, "%", "validation")
        >>> error.fraction
        True
    """

    name: str
    label: str
    higher_is_better: bool
    unit: Unit
    split: Literal["train", "validation", "test"]

    @property
    def fraction(self) -> bool:
        """Whether it is a fraction, shown in per cent, and its differences in points."""
        return self.unit != ""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a task measures on a split: of each, the run has a metric for every split it is on.

    Args:
        name: Its name, to which rows add "train_" or "val_".
        label: Its name in a sentence.
        higher_is_better: Whether more of it is better.
        unit: "%" where the value is a fraction; "" else.
        train: Whether it is measured on training examples too.
        best: What a perfect model has; None: 1 of a score and 0 of an error; NaN where there is no
            bound.
        of_constant: Whether it says something of an answer that is always the same.

    Example:
        >>> Measure("mae", "MAE", False, "").perfect
        0.0
    """

    name: str
    label: str
    higher_is_better: bool
    unit: Literal["", "%"]
    train: bool = False
    best: float | None = None
    of_constant: bool = True

    @property
    def perfect(self) -> float:
        """What a perfect model has; NaN where there is no bound."""
        return float(self.higher_is_better) if self.best is None else self.best

    @property
    def validation(self) -> Metric:
        """The metric on the validation examples; no other split of that name needs a word."""
        label = f"validation {self.label}" if self.train else self.label
        return Metric(f"val_{self.name}", label, self.higher_is_better, self.unit, "validation")

    @property
    def test(self) -> Metric:
        """The metric on the test split."""
        return Metric(self.name, f"test {self.label}", self.higher_is_better, self.unit, "test")

    @property
    def stopping(self) -> Metric:
        """The metric on the fold of training examples by which early stopping chooses."""
        label = f"{self.label} on the fold for stopping"
        return Metric(f"stop_{self.name}", label, self.higher_is_better, self.unit, "train")

    def training(self, *, running: bool = False) -> Metric:
        """Return the metric on training examples: in eval mode, or `running`, as they were seen."""
        name, label = f"train_{self.name}", f"training {self.label}"
        if running:
            name, label = f"{name}_running", f"running {label}"
        return Metric(name, label, self.higher_is_better, self.unit, "train")


@cache
def metrics_of(measures: tuple[Measure, ...]) -> Mapping[str, Metric]:
    """Return the metrics that a run with these measures has after every epoch, by name.

    "running" is with dropout on, while training; the rest in eval mode. `gap` is by how much the
    score is better on training examples than on validation examples.
    """
    return MappingProxyType({each.name: each for each in _epoch_metrics(measures)})


def _epoch_metrics(measures: tuple[Measure, ...]) -> Iterator[Metric]:
    score = measures[1]
    for each in measures[:2]:
        yield each.training(running=True)
    for each in measures:
        if each.train:
            yield each.training()
    for each in measures:
        yield each.validation
    unit: Unit = "points" if score.unit else ""
    yield Metric("gap", "gap", higher_is_better=False, unit=unit, split="validation")


@cache
def test_metrics_of(measures: tuple[Measure, ...]) -> Mapping[str, Metric]:
    """Return the metrics that are measured once, on the test split, by name; the score first."""
    loss, score, *others = measures
    return MappingProxyType({each.name: each.test for each in (score, loss, *others)})
