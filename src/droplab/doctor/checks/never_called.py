"""DRP022: a dropout module that is built and then forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._classes import ClassInfo
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import layer
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._exam import Exam
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP022", "never-called", "a dropout module is built but never called", "warning")

_SWEEPING = frozenset(
    {"children", "modules", "named_children", "named_modules", "_modules", "getattr", "vars"}
)


def reading(module: Module) -> Iterator[Finding]:
    """Find `self.x = nn.Dropout(...)` where nothing in the file reads `.x` of it.

    Another file may: the run over several files drops the findings whose attribute it saw read in
    a file that names the class.
    """
    for info in module.classes:
        if not info.is_module:
            continue
        for name, values in info.own_attributes.items():
            if name in module.outside_reads or name in module.strings:
                continue
            made = [(layer(module, value), value) for value, _ in values]
            if not all(kind in _names.MODULES for (kind, _), _ in made):
                continue
            if name in _own_reads(module, info) or _sweeps(info):
                continue
            if any(_idle(make) for (_, make), _ in made) or _has_own_base(module, info):
                continue
            finding = module.finding(
                CODE,
                made[0][1],
                f"self.{name} of {info.name} is built but never called",
                "call it in forward, or remove it",
            )
            yield replace(finding, evidence={"class": info.name, "attribute": name})


def _own_reads(module: Module, info: ClassInfo) -> set[str]:
    """Return what the class, its parents and its children in the file read."""
    related = [item for item in module.classes if info in item.family or item in info.family]
    return set().union(*(item.reads for item in related))


def _idle(make: ast.Call | None) -> bool:
    return make is None or _names.number(_names.argument(make, "p", 0)) == 0.0


def _sweeps(info: ClassInfo) -> bool:
    """Whether the class runs its children in bulk, so that no name is needed."""
    if not any("forward" in item.methods for item in info.family):
        return True
    return any((item.reads | item.names) & _SWEEPING for item in info.family)


def _has_own_base(module: Module, info: ClassInfo) -> bool:
    """Whether a base outside the file may use the attribute in methods that we cannot see."""
    plain = ("torch.nn.Module", "torch.nn.Sequential", "abc.ABC", "typing.Generic")
    for item in info.family:
        known = {parent.name for parent in item.parents}
        for base, full in zip(item.node.bases, item.bases, strict=True):
            if isinstance(base, ast.Name) and base.id in known:
                continue
            if full not in plain and not full.endswith(("LightningModule",)):
                return True
    return False


def running(exam: Exam) -> Iterator[Finding]:
    """Find dropout modules whose owner runs, in eval and in training, without calling them."""
    called: set[nn.Module] = set()
    for trace in (*exam.evals, *exam.trains):
        called |= trace.recorder.called
    for module, name in exam.names.items():
        if not _kinds.is_dropout(module) or module in called or _kinds.rate_of(module) == 0.0:
            continue
        if _owner(exam.model, name) in called:
            yield exam.finding(
                CODE,
                f"{type(module).__name__} '{name}' is never called",
                "call it in forward, or remove it",
                module=module,
                evidence={"passes": len(exam.evals) + len(exam.trains), "calls": 0},
            )


def _owner(model: nn.Module, name: str) -> nn.Module:
    """The module that should call another one: its parent, not counting plain lists."""
    while name:
        name = name.rpartition(".")[0]
        owner = model.get_submodule(name) if name else model
        if _kinds.kind_of(owner) not in ("torch.nn.ModuleList", "torch.nn.ModuleDict"):
            return owner
    return model


def watching(loop: Loop) -> Iterator[Finding]:
    """Find dropout modules whose owner ran in training and never called them."""
    for root in loop.roots:
        if not loop.trained(root):
            continue
        for name, module in root.named_modules():
            if not _kinds.is_dropout(module) or module in loop.called:
                continue
            if _kinds.rate_of(module) == 0.0 or _owner(root, name) not in loop.called:
                continue
            yield loop.finding(
                CODE,
                f"{type(module).__name__} '{name}' was never called",
                "call it in forward, or remove it",
                module=module,
                evidence={"passes": len(loop.of(root)), "calls": 0},
            )
