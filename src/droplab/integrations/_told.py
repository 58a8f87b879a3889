"""What a callback in somebody's trainer tells a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droplab.errors import ArgumentError, nearest
from droplab.numeric import real
from droplab.studies import FreeTrial, Trial

AnyTrial = Trial | FreeTrial


def told(trial: AnyTrial, found: Mapping[str, Any], hint: str) -> None:
    """Report those of a trainer's numbers that the study declares; of a free trial, all.

    Args:
        trial: The trial.
        found: What the trainer has measured, by name.
        hint: What to do if the metric that decides is not among it.

    Raises:
        ArgumentError: If it is not.
    """
    there = [name for name, value in found.items() if real(value) is not None]
    if trial.metrics and trial.metrics[0] not in there:
        decides = trial.metrics[0]
        raise ArgumentError(
            f"{decides}: expected it among what the trainer measures, got "
            f"{', '.join(map(str, there)) or 'nothing'}{nearest(decides, map(str, there))}; {hint}"
        )
    trial.report(**{name: found[name] for name in trial.metrics or there if name in there})
