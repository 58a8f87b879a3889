"""DRP022: a dropout module that no pass calls."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live._exam import Exam

CODE = "DRP022"


def check(exam: Exam) -> Iterator[Finding]:
    """Find dropout modules whose owner runs, in eval and in training, without calling them."""
    called: set[nn.Module] = set()
    for trace in (*exam.evals, *exam.trains):
        called |= trace.recorder.called
    for module, name in exam.names.items():
        if not _kinds.is_dropout(module) or module in called or _kinds.rate_of(module) == 0.0:
            continue
        if owner_of(exam.model, name) in called:
            yield exam.finding(
                CODE,
                f"{type(module).__name__} '{name}' is never called",
                "call it in forward, or remove it",
                module=module,
                evidence={"passes": len(exam.evals) + len(exam.trains), "calls": 0},
            )


def owner_of(model: nn.Module, name: str) -> nn.Module:
    """Return the module that should call another one: its parent, not counting plain lists."""
    while name:
        name = name.rpartition(".")[0]
        owner = model.get_submodule(name) if name else model
        if not isinstance(owner, nn.ModuleList | nn.ModuleDict):
            return owner
    return model
