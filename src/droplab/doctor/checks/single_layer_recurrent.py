"""DRP015: `nn.LSTM(..., dropout=p)` with one layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor import _kinds, _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP015", "single-layer-recurrent", "dropout of a one-layer RNN does nothing", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find recurrent layers with dropout between layers and only one layer."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name not in _names.RECURRENT or _names.has_unpacking(call):
            continue
        rate = _names.argument(call, "dropout", 99)
        if rate is None or _names.number(rate) == 0.0:
            continue
        layers = _names.argument(call, "num_layers", 2)
        if layers is not None and _names.number(layers) != 1.0:
            continue
        short = name.rpartition(".")[2]
        yield module.finding(
            CODE,
            rate,
            f"{short} drops between its layers, and it has only one: nothing is dropped",
            f"put nn.Dropout after the {short}, or give it more layers",
            edits=_fix(module, call),
        )


def _fix(module: Module, call: ast.Call) -> tuple[Edit, ...]:
    """Take the argument out: nothing changes but the reader's belief."""
    for at, keyword in enumerate(call.keywords):
        if keyword.arg == "dropout" and isinstance(keyword.value, ast.Constant):
            before = [*call.args, *(k.value for k in call.keywords[:at])]
            if not before:
                return ()
            start, end = module.span(before[-1])[1], module.span(keyword.value)[1]
            text = module.source.text[start:end]
            if "#" in text or ")" in text or "(" in text:
                return ()
            return (Edit(start, end, ""),)
    return ()


def running(exam: Exam) -> Iterator[Finding]:
    """Find recurrent modules of one layer whose dropout is above 0."""
    for module, name in exam.names.items():
        layer: Any = module  # Any, as a Module has no such attributes
        recurrent = _kinds.kind_of(module) in _names.RECURRENT | {"torch.nn.RNNBase"}
        if recurrent and layer.num_layers == 1 and layer.dropout > 0:
            kind = type(module).__name__
            yield exam.finding(
                CODE,
                f"{kind} '{name}' drops between its layers, and it has only one",
                f"put nn.Dropout after the {kind}, or give it more layers",
                module=module,
                evidence={"dropout": layer.dropout, "num_layers": 1},
            )
