"""DRP005: a dropout with p > 0 that changes nothing in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor._finding import Code, Finding

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP005", "silent-in-training", "dropout does nothing in training", "error")


def running(exam: Exam) -> Iterator[Finding]:
    """Find dropouts that are off in every pass although the model is in training mode."""
    calls: dict[object, list[Drop]] = {}
    for trace in exam.trains:
        for drop in trace.drops:
            calls.setdefault(drop.key, []).append(drop)
    for drops in calls.values():
        drop = drops[0]
        if drop.p == 0.0 or drop.on or not all(d.silent and not d.on for d in drops):
            continue
        if drop.module is not None and _frozen(exam.model, drop.module):
            continue
        if drop.module is None:
            reason, advice = "its flag is False", "pass training=self.training"
        else:
            reason = "it is in eval mode although train() was called"
            advice = "look for a train() that is overridden, or a module that is not registered"
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} drops nothing in training: {reason}",
            advice,
            drop=drop,
            evidence={"calls": len(drops), "calls that dropped something": 0},
        )


def watching(loop: Loop) -> Iterator[Finding]:
    """Find dropouts with p > 0 that were off in every trained pass."""
    for root in loop.roots:
        passes = loop.trained(root)
        for calls in loop.grouped(passes).values():
            drops = [drop for group in calls for drop in group]
            drop = drops[0]
            if drop.p == 0.0 or any(d.on or not d.silent for d in drops):
                continue
            if drop.module is not None and _frozen(root, drop.module):
                continue
            yield loop.finding(
                CODE,
                f"{loop.label(drop)} drops nothing in training: it is in eval mode in every step",
                f"call {loop.variable(root)}.train() before training",
                place=drop.place if drop.module is None else ("", 0),
                module=drop.module,
                evidence={"trained passes": len(passes), "passes that dropped something": 0},
            )


def _frozen(root: nn.Module, module: nn.Module) -> bool:
    """Whether the nearest part with parameters around it is frozen: then eval mode is meant."""
    path = next((name for name, item in root.named_modules() if item is module), "")
    while path:
        path = path.rpartition(".")[0]
        parameters = list((root.get_submodule(path) if path else root).parameters())
        if parameters:
            return not any(parameter.requires_grad for parameter in parameters)
    return False
