"""DRP015: a recurrent layer with dropout between layers, and one layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam

CODE = "DRP015"


def check(exam: Exam) -> Iterator[Finding]:
    """Find recurrent modules of one layer whose dropout is above 0."""
    for module, name in exam.names.items():
        if isinstance(module, nn.RNNBase) and module.num_layers == 1 and module.dropout > 0:
            kind = type(module).__name__
            yield exam.finding(
                CODE,
                f"{kind} '{name}' drops between its layers, and it has only one",
                f"put nn.Dropout after the {kind}, or give it more layers",
                module=module,
                evidence={"dropout": module.dropout, "num_layers": 1},
            )
