"""DRP015: `nn.LSTM(..., dropout=p)` with one layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._module import Module
from droplab.doctor.finding import Edit, Finding

CODE = "DRP015"


def check(module: Module) -> Iterator[Finding]:
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
