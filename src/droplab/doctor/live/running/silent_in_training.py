"""DRP005: a dropout with p > 0 that changes nothing in training mode."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live._events import Drop
from droplab.doctor.live._exam import Exam, label

CODE = "DRP005"


def check(exam: Exam) -> Iterator[Finding]:
    """Find dropouts that are off in every pass although the model is in training mode."""
    calls: dict[object, list[Drop]] = {}
    for trace in exam.trains:
        for drop in trace.drops:
            calls.setdefault(drop.key, []).append(drop)
    for drops in calls.values():
        drop = drops[0]
        if drop.p == 0.0 or drop.on or not all(d.silent and not d.on for d in drops):
            continue
        if _frozen(exam, drop.module):
            continue
        name = exam.name(drop.module)
        if drop.module is None:
            reason, advice = "its flag is False", "pass training=self.training"
        else:
            reason = "it is in eval mode although train() was called"
            advice = "look for a train() that is overridden, or a module that is not registered"
        yield exam.finding(
            CODE,
            f"{label(drop, name)} drops nothing in training: {reason}",
            advice,
            drop=drop,
            evidence={"calls": len(drops), "calls that dropped something": 0},
        )


def _frozen(exam: Exam, module: nn.Module | None) -> bool:
    """Whether the part of the model around a dropout is frozen, so that eval mode is meant."""
    if module is None or module not in exam.names:
        return False
    path = exam.names[module]
    while path:
        path = path.rpartition(".")[0]
        around = exam.model.get_submodule(path) if path else exam.model
        parameters = list(around.parameters())
        if parameters:
            return not any(parameter.requires_grad for parameter in parameters)
    return False
