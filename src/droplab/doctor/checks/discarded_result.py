"""DRP021: the result of a dropout call is thrown away."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._flow import layer
from droplab.doctor._module import Module

CODE = Code("DRP021", "discarded-result", "the result of dropout is thrown away", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find statements that are nothing but a dropout call."""
    for call in module.calls:
        statement = module.parents.get(call)
        if not isinstance(statement, ast.Expr) or not call.args:
            continue
        make = _dropout(module, call)
        if make is None or _in_place(make) or _in_place(call) or _in_test(module, call):
            continue
        given = call.args[0]
        edits: tuple[Edit, ...] = ()
        if isinstance(given, ast.Name):
            start = module.span(call)[0]
            edits = (Edit(start, start, f"{given.id} = "),)
        text = module.segment(given) if isinstance(given, ast.Name | ast.Attribute) else "x"
        yield module.finding(
            CODE,
            call,
            "the result is not used, and dropout does not change its input",
            f"assign it: {text} = {module.segment(call.func)}(...)",
            edits=edits,
            unsafe=True,
        )


def _dropout(module: Module, call: ast.Call) -> ast.Call | None:
    """Return the call that builds the dropout, or the functional call itself."""
    name = module.resolve(call.func)
    if name in _names.FUNCTIONS:
        return None if name.endswith("_") else call
    if isinstance(call.func, ast.Call) and module.resolve(call.func.func) in _names.MODULES:
        return call.func
    owner = module.method(call)
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and owner:
        values = [layer(module, value) for value, _ in owner[0].values(call.func.attr)]
        if values and all(kind in _names.MODULES for kind, _ in values):
            return values[0][1]
    if isinstance(call.func, ast.Name):
        scope = module.scope(call)
        for item in module.assigned.get(call.func.id, ()):
            if module.scope(item) is scope:
                kind, make = layer(module, item.value)
                return make if kind in _names.MODULES else None
    return None


def _in_place(call: ast.Call) -> bool:
    is_layer = not (isinstance(call.func, ast.Attribute) and call.func.attr.islower())
    flag = _names.argument(call, "inplace", 1 if is_layer else 3)
    return flag is not None and not (isinstance(flag, ast.Constant) and flag.value is False)


def _in_test(module: Module, call: ast.Call) -> bool:
    for above in module.ancestors(call):
        if isinstance(above, ast.FunctionDef) and above.name.startswith("test"):
            return True
        if isinstance(above, ast.With):
            return True
        if isinstance(above, ast.Try):
            return True
    return False
