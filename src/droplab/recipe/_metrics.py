"""The metrics of each task: what each is called, its unit, which way is better, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
        >>> METRICS["val_ece"].label, METRICS["val_ece"].fraction
        ('calibration error', True)
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
    """

    name: str
    label: str
    higher_is_better: bool
    unit: Literal["", "%"]
    train: bool = False

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


LOSS = Measure("loss", "loss", higher_is_better=False, unit="", train=True)
ACCURACY = Measure("accuracy", "accuracy", higher_is_better=True, unit="%", train=True)
ECE = Measure("ece", "calibration error", higher_is_better=False, unit="%")
AUROC = Measure("auroc", "AUROC", higher_is_better=True, unit="")
MACRO_F1 = Measure("macro_f1", "macro F1", higher_is_better=True, unit="%")
RMSE = Measure("rmse", "RMSE", higher_is_better=False, unit="", train=True)
MAE = Measure("mae", "MAE", higher_is_better=False, unit="")
R2 = Measure("r2", "R squared", higher_is_better=True, unit="")
PERPLEXITY = Measure("perplexity", "perplexity", higher_is_better=False, unit="")

TASKS: Mapping[str, tuple[Measure, ...]] = MappingProxyType(
    {
        "classification": (LOSS, ACCURACY, ECE),
        "binary": (LOSS, ACCURACY, AUROC, ECE),
        "multilabel": (LOSS, replace(ACCURACY, label="accuracy over labels"), MACRO_F1),
        "regression": (LOSS, RMSE, MAE, R2),
        "tokens": (LOSS, replace(ACCURACY, label="accuracy over tokens"), PERPLEXITY),
    }
)
"""What each task measures: the loss, then the score that people look at, then the others."""

BALANCED_ACCURACY = Measure(
    "balanced_accuracy", "balanced accuracy", higher_is_better=True, unit="%"
)
BRIER = Measure("brier", "Brier score", higher_is_better=False, unit="")
NLL = Measure("nll", "negative log likelihood", higher_is_better=False, unit="")

FURTHER: Mapping[str, tuple[Measure, ...]] = MappingProxyType(
    {
        "classification": (
            BALANCED_ACCURACY,
            MACRO_F1,
            BRIER,
            NLL,
            replace(AUROC, label="macro AUROC"),
        ),
        "binary": (BALANCED_ACCURACY, MACRO_F1, BRIER, NLL),
        "multilabel": (BRIER, NLL),
        "regression": (replace(NLL, label="Gaussian negative log likelihood"),),
        "tokens": (NLL,),
    }
)
"""What each task can measure besides, where a recipe asks for it by name."""


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


def metric_names() -> tuple[str, ...]:
    """Return the names of the metrics of all tasks after every epoch, classification first.

    Example:
        >>> "val_accuracy" in metric_names(), "val_rmse" in metric_names()
        (True, True)
    """
    return tuple(dict.fromkeys(name for each in TASKS.values() for name in metrics_of(each)))


METRICS = metrics_of(TASKS["classification"])
"""The metrics of a classifier after every epoch. `gap` = train_accuracy - val_accuracy. Accuracies
are fractions in [0, 1]."""

TEST_METRICS = test_metrics_of(TASKS["classification"])
"""The metrics of a classifier on the test split."""
