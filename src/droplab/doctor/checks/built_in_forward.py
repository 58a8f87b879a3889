"""DRP003: a dropout module that is built anew on every call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _gate, _names
from droplab.doctor._classes import self_name
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP003", "built-in-forward", "a dropout module is built on every call", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find dropout modules that are built and called in one function of a module."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name not in _names.MODULES:
            continue
        owner = module.method(call)
        if owner is None or not owner[0].is_module or owner[1].name == "__init__":
            continue
        outer = _used_as(module, call)
        if outer is None or _gate.gated(module, call) or _gate.deliberate(module, call):
            continue
        edits: tuple[Edit, ...] = ()
        if isinstance(outer, ast.Call):
            edits = _fix(module, call, outer, self_name(owner[1]), _names.MODULES[name])
        yield module.finding(
            CODE,
            call,
            f"{name.rpartition('.')[2]} is built in {owner[1].name}(), so eval() never reaches it",
            "build it in __init__, or call the function with training=self.training",
            edits=edits,
        )


def _used_as(module: Module, call: ast.Call) -> ast.AST | None:
    """Return what uses the new module at once: the call of it, or the name it is called by."""
    parent = module.parents.get(call)
    if isinstance(parent, ast.Call) and parent.func is call:
        return parent
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        function = module.function(call)
        name = parent.targets[0].id
        calls = [item for item in ast.walk(function or parent) if isinstance(item, ast.Call)]
        told = any(
            isinstance(item.func, ast.Attribute)
            and item.func.attr in ("train", "eval")
            and isinstance(item.func.value, ast.Name)
            and item.func.value.id == name
            for item in calls
        )
        called = any(isinstance(item.func, ast.Name) and item.func.id == name for item in calls)
        return parent if called and not told else None
    return None


def _fix(
    module: Module, call: ast.Call, outer: ast.Call, me: str | None, function: str
) -> tuple[Edit, ...]:
    if me is None or not isinstance(call.func, ast.Attribute):
        return ()
    if module.resolve(call.func.value) != "torch.nn":
        return ()
    one = len(outer.args) == 1 and not outer.keywords and not isinstance(outer.args[0], ast.Starred)
    rate = _names.argument(call, "p", 0)
    plain = len(call.args) + len(call.keywords) == (rate is not None)
    if not one or not plain or module.function(call) is None:
        return ()
    start, end = module.span(outer)
    if "#" in module.source.text[start:end]:
        return ()
    space = module.segment(call.func.value)
    given = module.segment(outer.args[0])
    p = f", {module.segment(rate)}" if rate is not None else ""
    text = f"{space}.functional.{function}({given}{p}, training={me}.training)"
    return (Edit(start, end, text),)


def running(exam: Exam) -> Iterator[Finding]:
    """Find modules outside the model that are new in every pass and on in eval mode."""
    first, second = exam.evals
    later = {id(drop.module) for drop in second.drops}
    seen: set[object] = set()
    for drop in first.drops:
        module = drop.module
        if module is None or module in exam.names or id(module) in later or drop.at in seen:
            continue
        if not drop.on or drop.p == 0.0:
            continue
        seen.add(drop.at)
        yield exam.finding(
            CODE,
            f"{drop.name} is built anew on every call, so eval() never reaches it",
            "build it in __init__, or call the function with training=self.training",
            drop=drop,
            evidence={"dropped in eval mode": not drop.silent},
        )
