"""The graphs of a file: which operation feeds which.

Two things become graphs: the literal chain of an `nn.Sequential` (or of a list that is filled layer
by layer), and the statements of a `forward`. Checks about the place of a dropout read both alike.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor._classes import Function
from droplab.doctor._flow import Graph, layer, sequential_items
from droplab.doctor._forward import Forward
from droplab.doctor._module import Module


def graphs(module: Module) -> list[Graph]:
    """Return every chain and every forward of a file as a graph; computed once a file."""
    if "graphs" not in module.cache:
        module.cache["graphs"] = list(_graphs(module))
    return module.cache["graphs"]


def _graphs(module: Module) -> Iterator[Graph]:
    for call in module.calls:
        if module.resolve(call.func) == "torch.nn.Sequential":
            yield _chain(module, sequential_items(call), call)
    for function in module.functions:
        for name, items in _filled_lists(function):
            if any(layer(module, item)[0] != "?" for item in items):
                yield _chain(module, items, function, name)
    for info in module.classes:
        if not info.is_module:
            continue
        for name, method in info.methods.items():
            if name == "forward" or name.startswith(("forward_", "_forward")):
                yield Forward(module, info, method).graph


def _chain(module: Module, items: list[ast.expr], node: ast.AST, name: str = "") -> Graph:
    owner = module.method(node)
    graph = Graph(module, owner[0] if owner else None)
    graph.name = name or _assigned_name(module, node)
    end = graph.extend(items, graph.add("input", node, []))
    graph.add("end", node, [end])
    return graph


def _assigned_name(module: Module, node: ast.AST) -> str:
    parent = module.parents.get(node)
    if isinstance(parent, ast.Assign):
        target = parent.targets[0]
        if isinstance(target, ast.Attribute):
            return target.attr
        if isinstance(target, ast.Name):
            return target.id
    return ""


def _filled_lists(function: Function) -> Iterator[tuple[str, list[ast.expr]]]:
    """Yield (name, items) for lists filled by append, extend or += within one block."""
    stack: list[list[ast.stmt]] = [function.body]
    while stack:
        block = stack.pop()
        filled: dict[str, list[ast.expr]] = {}
        for statement in block:
            for attribute in ("body", "orelse", "finalbody"):
                inner = getattr(statement, attribute, None)
                if isinstance(inner, list) and not isinstance(statement, ast.ClassDef):
                    stack.append(inner)
            name, items, fresh = _filling(statement)
            if name and fresh:
                yield from ((n, i) for n, i in filled.items() if n == name and len(i) > 1)
                filled[name] = []
            if name:
                filled.setdefault(name, []).extend(items)
            elif hasattr(statement, "body"):
                # A branch may add layers of its own: what is known ends here.
                yield from ((n, i) for n, i in filled.items() if len(i) > 1)
                filled = {}
        yield from ((n, i) for n, i in filled.items() if len(i) > 1)


def _filling(statement: ast.stmt) -> tuple[str, list[ast.expr], bool]:
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List):
        target = statement.targets[0]
        return (target.id if isinstance(target, ast.Name) else ""), statement.value.elts, True
    if isinstance(statement, ast.AugAssign) and isinstance(statement.value, ast.List):
        target = statement.target
        return (target.id if isinstance(target, ast.Name) else ""), statement.value.elts, False
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            name = call.func.value.id
            if call.func.attr == "append" and len(call.args) == 1:
                return name, [call.args[0]], False
            if call.func.attr == "extend" and call.args and isinstance(call.args[0], ast.List):
                return name, call.args[0].elts, False
    return "", [], False
