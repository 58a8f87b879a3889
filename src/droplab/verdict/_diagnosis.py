"""Does the baseline overfit?"""

from __future__ import annotations

import math

import numpy as np

from droplab.verdict._metrics import RunMetrics
from droplab.verdict._table import Table
from droplab.verdict._types import Diagnosis

GAP = 0.05
"""From this gap between the score on training and on validation examples on, where the score is a
fraction, a model overfits. What gap is large in another unit, nobody can say in advance."""
CHANGE = 0.05
"""So far must validation loss have risen, and training loss fallen, to count as such."""


def diagnose(table: Table) -> Diagnosis | None:
    """Judge the baseline by its mean curves over seeds; None if that cannot be told."""
    arm = table.arms.index(table.recipe.baseline.name)
    seeds = np.flatnonzero(table.done()[arm])
    if len(seeds) == 0:
        return None

    def mean(metric: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return table.curves(metric)[arm, seeds, : table.epoch].mean(axis=0)

    metrics = table.metrics
    score, on_training = metrics.score, metrics.training(metrics.score)
    if on_training is None or metrics.loss.higher_is_better:  # rows from elsewhere: no loss
        return None
    loss = metrics.loss.label
    seen = metrics.training(metrics.loss)
    loss_there = seen.label if seen else "training loss"
    validation, training = mean(metrics.loss.name), mean(seen.name if seen else "train_loss")
    here, there = float(mean(score.name)[-1]), float(mean(on_training.name)[-1])
    gap = there - here if score.higher_is_better else here - there
    if not math.isfinite(gap):
        return None
    best = int(np.argmin(np.where(np.isfinite(validation), validation, math.inf)))
    rise = _relative(float(validation[-1]), float(validation[best]))
    fall = -_relative(float(training[-1]), float(training[best]))
    rising = rise >= CHANGE and fall >= CHANGE
    overfits = rising or (score.fraction and gap >= GAP)
    gap_text = _gap_text(metrics, there, here, gap)
    risen = f"its {loss} has risen by {100 * rise:.0f} % since epoch {best + 1}"
    if rising:
        loss_text = f"{risen}, while its {loss_there} fell by {100 * fall:.0f} %"
    elif best + 1 == table.epoch:
        loss_text = f"its {loss} is at its lowest in the last epoch"
    elif rise < CHANGE:
        loss_text = f"its {loss} is within {100 * CHANGE:.0f} % of its lowest, in epoch {best + 1}"
    else:
        loss_text = f"{risen}, but its {loss_there} has not fallen with it"
    not_seen = "does not overfit" if metrics.score.fraction else "is not seen to overfit"
    verb = "overfits" if overfits else not_seen
    over_time = f"; {loss_text}" if table.epoch > 1 else ""
    sentence = f"The baseline {verb}: {gap_text}{over_time}."
    return Diagnosis(overfits, gap, best + 1, rise, fall, sentence)


def _gap_text(metrics: RunMetrics, there: float, here: float, gap: float) -> str:
    """Say how good the score is on the training examples (there) and on the others (here)."""
    score, on_training = metrics.score, metrics.training(metrics.score)
    size = metrics.named("gap").text(gap) if "gap" in metrics.epoch else score.text(gap)
    if metrics.counts_right:
        return (
            f"it gets {score.text(there)} of its training examples right and {score.text(here)} of "
            f"the {metrics.examples} examples, a gap of {size}"
        )
    on = on_training.label if on_training else ""
    return (
        f"its {on} is {score.text(there)} and its {score.label} {score.text(here)}, a gap of {size}"
    )


def _relative(now: float, then: float) -> float:
    """Return the change relative to where it began; 0 where that is no number."""
    if not (math.isfinite(now) and math.isfinite(then)) or then == 0:
        return 0.0
    # a log-likelihood's loss can be below 0, where less negative is more
    return now / then - 1.0 if then > 0 else (now - then) / -then
