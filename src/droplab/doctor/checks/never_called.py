"""DRP022: a dropout module that is built and then forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._classes import ClassInfo, Function
from droplab.doctor._elsewhere import lineage
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import layer
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._exam import Exam
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP022", "never-called", "a dropout module is built but never called", "warning")

_SWEEPING = frozenset({"children", "named_children", "_modules", "getattr", "vars"})
_WALKS = frozenset({"modules", "named_modules"})
_CONSTRUCTION = re.compile(r"init|reset|weight|param|freeze|count|num_")


def reading(module: Module) -> Iterator[Finding]:
    """Find `self.x = nn.Dropout(...)` where nothing reads `.x` of it.

    Reading settings is no use, and neither is a walk over `self.modules()` at construction. Bases
    in other files are read, too. A subclass in another file may use it: the run over several files
    drops the findings whose attribute it saw read in a file that imports the class.
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
            if any(_idle(make) for (_, make), _ in made) or name in _own_reads(module, info):
                continue
            above = lineage(module, info)
            if not above.complete or any(_elsewhere(name, *item) for item in above.found):
                continue
            if _sweeps([(module, item) for item in info.family] + above.found):
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


def _elsewhere(name: str, module: Module, info: ClassInfo) -> bool:
    """Whether a base in another file, or what stands beside it, may read an attribute."""
    return name in info.reads | module.outside_reads | module.strings


def _idle(make: ast.Call | None) -> bool:
    return make is None or _names.number(_names.argument(make, "p", 0)) == 0.0


def _sweeps(classes: list[tuple[Module, ClassInfo]]) -> bool:
    """Whether a class runs its children in bulk, so that no name is needed."""
    if not any("forward" in info.methods for _, info in classes):
        return True
    return any(
        _in_bulk(module, node, method)
        for module, info in classes
        for method in info.methods.values()
        for node in ast.walk(method)
    )


def _in_bulk(module: Module, node: ast.AST, method: Function) -> bool:
    if isinstance(node, ast.Attribute):
        walks = node.attr in _WALKS and not _CONSTRUCTION.search(method.name)
        return node.attr in _SWEEPING or walks
    if not isinstance(node, ast.Name) or node.id not in _SWEEPING:
        return False
    call = module.parents.get(node)
    given = call.args[0] if isinstance(call, ast.Call) and call.args else None
    # getattr(nn, name) and getattr(config, name) reach no child.
    return given is None or not (module.resolve(given) or _names.is_settings(given))


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
