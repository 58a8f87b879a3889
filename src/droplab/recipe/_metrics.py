"""The metrics: what each is called, its unit, which way is better, and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as data.

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
    unit: Literal["", "%", "points"]
    split: Literal["train", "validation", "test"]

    @property
    def fraction(self) -> bool:
        """Whether it is a fraction, shown in per cent, and its differences in points."""
        return self.unit != ""


METRICS = {
    found.name: found
    for found in (
        Metric("train_loss_running", "running training loss", False, "", "train"),
        Metric("train_accuracy_running", "running training accuracy", True, "%", "train"),
        Metric("train_loss", "training loss", False, "", "train"),
        Metric("train_accuracy", "training accuracy", True, "%", "train"),
        Metric("val_loss", "validation loss", False, "", "validation"),
        Metric("val_accuracy", "validation accuracy", True, "%", "validation"),
        Metric("val_ece", "calibration error", False, "%", "validation"),
        Metric("gap", "gap", False, "points", "validation"),
    )
}
"""What is measured every epoch. "running" is with dropout on, while training; the rest in eval
mode. `gap` = train_accuracy - val_accuracy. Accuracies are fractions in [0, 1]."""

TEST_METRICS = {
    found.name: found
    for found in (
        Metric("accuracy", "test accuracy", True, "%", "test"),
        Metric("loss", "test loss", False, "", "test"),
        Metric("ece", "test calibration error", False, "%", "test"),
    )
}
"""What is measured once, on the official test split."""
