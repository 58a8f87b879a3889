"""Does the baseline overfit?"""

from __future__ import annotations

import math

import numpy as np

from droplab.verdict._metrics import METRICS
from droplab.verdict._table import Table
from droplab.verdict._types import Diagnosis

GAP = 0.05
"""From this gap between training and validation accuracy on, a model overfits."""
CHANGE = 0.05
"""So far must validation loss have risen, and training loss fallen, to count as such."""


def diagnose(table: Table) -> Diagnosis | None:
    """Judge the baseline by its mean curves over seeds; None if its accuracies are not known."""
    arm = table.arms.index(table.recipe.baseline.name)
    seeds = np.flatnonzero(table.done()[arm])
    if len(seeds) == 0:
        return None

    def mean(metric: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return table.curves(metric)[arm, seeds, : table.epoch].mean(axis=0)

    validation, training = mean("val_loss"), mean("train_loss")
    accuracy, train_accuracy = float(mean("val_accuracy")[-1]), float(mean("train_accuracy")[-1])
    gap = train_accuracy - accuracy
    if not math.isfinite(gap):
        return None
    best = int(np.argmin(np.where(np.isfinite(validation), validation, math.inf)))
    rise = _relative(float(validation[-1]), float(validation[best]))
    fall = -_relative(float(training[-1]), float(training[best]))
    rising = rise >= CHANGE and fall >= CHANGE
    overfits = rising or gap >= GAP
    right = METRICS["val_accuracy"].text
    gap_text = (
        f"it gets {right(train_accuracy)} of its training examples right and {right(accuracy)} of "
        f"the validation examples, a gap of {METRICS['gap'].text(gap)}"
    )
    if rising:
        loss_text = (
            f"its validation loss has risen by {rise:.0%} since epoch {best + 1}, while its "
            f"training loss fell by {fall:.0%}"
        )
    elif best + 1 == table.epoch:
        loss_text = "its validation loss is at its lowest in the last epoch"
    elif rise < CHANGE:
        loss_text = f"its validation loss is within {CHANGE:.0%} of its lowest, in epoch {best + 1}"
    else:
        loss_text = (
            f"its validation loss has risen by {rise:.0%} since epoch {best + 1}, but its training "
            "loss has not fallen with it"
        )
    verb = "overfits" if overfits else "does not overfit"
    sentence = f"The baseline {verb}: {gap_text}; {loss_text}."
    return Diagnosis(
        overfits, gap, best + 1, rise, fall, sentence.replace("%", " %").replace("  %", " %")
    )


def _relative(now: float, then: float) -> float:
    """Return the change relative to where it began; 0 where that is no number."""
    if not (math.isfinite(now) and math.isfinite(then)) or then <= 0:
        return 0.0
    return now / then - 1.0
