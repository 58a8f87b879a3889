"""The graphs of a file: which operation feeds which.

Two things become graphs: the literal chain of an `nn.Sequential` (or of a list that is filled layer
by layer), and the statements of a `forward`. Checks about the place of a dropout read both alike.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from droplab.doctor._classes import Function
from droplab.doctor._flow import Graph, Op, layer, sequential_items
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
            if any(layer(module, item)[0] != "?" for item in _layers(items)):
                yield _chain(module, items, function, name)
    for info in module.classes:
        if not info.is_module:
            continue
        for name, method in info.methods.items():
            if name == "forward" or name.startswith(("forward_", "_forward")):
                yield Forward(module, info, method).graph


def _layers(items: Sequence[Item]) -> Iterator[ast.expr]:
    for item in items:
        if isinstance(item, Choice):
            for way in item.ways:
                yield from _layers(way)
        else:
            yield item


def _chain(module: Module, items: Sequence[Item], node: ast.AST, name: str = "") -> Graph:
    owner = module.method(node)
    graph = Graph(module, owner[0] if owner else None)
    graph.name = name or _assigned_name(module, node)
    end = _extend(graph, items, graph.add("input", node, []))
    graph.add("end", node, [end])
    return graph


def _extend(graph: Graph, items: Sequence[Item], start: Op) -> Op:
    """Append a chain after `start`, with its branches; returns the last operation."""
    at = start
    for item in items:
        if isinstance(item, Choice):
            ends = list(dict.fromkeys(_extend(graph, way, at) for way in item.ways))
            at = ends[0] if len(ends) == 1 else graph.add("phi", at.node, ends)
        else:
            at = graph.extend([item], at)
    return at


def _assigned_name(module: Module, node: ast.AST) -> str:
    parent = module.parents.get(node)
    if isinstance(parent, ast.Assign):
        target = parent.targets[0]
        if isinstance(target, ast.Attribute):
            return target.attr
        if isinstance(target, ast.Name):
            return target.id
    return ""


@dataclass(frozen=True)
class Choice:
    """An `if` that fills a list: the layers of each of its branches."""

    ways: tuple[list[Item], ...]


Item = ast.expr | Choice
"""A layer of a chain, or one of several ways to go on."""


def _filled_lists(function: Function) -> Iterator[tuple[str, list[Item]]]:
    """Yield (name, items) for lists filled by append, extend or += within one block."""
    stack: list[list[ast.stmt]] = [function.body]
    while stack:
        block = stack.pop()
        filled: dict[str, list[Item]] = {}
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
            elif isinstance(statement, ast.If) and (added := _optional(statement)) is not None:
                for name, choice in added.items():
                    filled.setdefault(name, []).append(choice)
            elif hasattr(statement, "body"):
                # A loop may add layers of its own: what is known ends here.
                yield from ((n, i) for n, i in filled.items() if len(i) > 1)
                filled = {}
        yield from ((n, i) for n, i in filled.items() if len(i) > 1)


_LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)


def _optional(node: ast.If) -> dict[str, Choice] | None:
    """Return what an `if` adds to each list; None if it adds in a way of its own, or leaves."""
    branches: list[dict[str, list[Item]]] = []
    for body in (node.body, node.orelse):
        added: dict[str, list[Item]] = {}
        for statement in body:
            name, items, fresh = _filling(statement)
            if name and not fresh:
                added.setdefault(name, []).extend(items)
            elif isinstance(statement, ast.If) and (inner := _optional(statement)) is not None:
                for name, choice in inner.items():
                    added.setdefault(name, []).append(choice)
            elif name or hasattr(statement, "body") or isinstance(statement, _LEAVES):
                return None
        branches.append(added)
    names = {name for added in branches for name in added}
    return {name: Choice(tuple(added.get(name, []) for added in branches)) for name in names}


def _filling(statement: ast.stmt) -> tuple[str, Sequence[ast.expr], bool]:
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
