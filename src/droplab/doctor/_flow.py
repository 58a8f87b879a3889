"""A small data-flow graph of modules: which operation feeds which."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo
from droplab.doctor._module import Module


@dataclass(eq=False)
class Op:
    """One operation of a graph.

    `kind` is a full torch name ("torch.nn.Linear", "torch.nn.functional.relu"), a method (".view"),
    an operator ("add"), or one of "input", "phi" (one of several values), "return", "?".
    """

    kind: str
    node: ast.AST
    make: ast.Call | None = None
    inputs: list[Op] = field(default_factory=list["Op"])
    users: list[Op] = field(default_factory=list["Op"])
    name: str = ""
    order: int = 0

    @property
    def first(self) -> Op | None:
        """The main input."""
        return self.inputs[0] if self.inputs else None


class Graph:
    """The operations of one chain or one forward, in the order in which they run."""

    def __init__(self, module: Module, owner: ClassInfo | None = None) -> None:
        self.module = module
        self.owner = owner
        self.ops: list[Op] = []
        self.name = ""

    def add(self, kind: str, node: ast.AST, inputs: list[Op], **more: object) -> Op:
        """Append an operation and tell its inputs."""
        op = Op(kind, node, inputs=inputs, order=len(self.ops), **more)  # pyright: ignore[reportArgumentType]
        for source in inputs:
            source.users.append(op)
        self.ops.append(op)
        return op

    def extend(self, items: list[ast.expr], start: Op) -> Op:
        """Append a chain of layer expressions after `start`; returns the last operation."""
        at = start
        for item in items:
            kind, make = layer(self.module, item)
            if kind == "torch.nn.Sequential" and make is not None:
                at = self.extend(sequential_items(make), at)
            elif kind == "torch.nn.Identity":
                continue
            else:
                at = self.add(kind, item, [at], make=make)
        return at


def layer(module: Module, value: ast.expr) -> tuple[str, ast.Call | None]:
    """Return (kind, constructor call) of an expression that builds a layer.

    `.to(...)` and its like, and `weight_norm(...)`, are looked through.
    """
    value = _unwrapped(module, value)
    if isinstance(value, ast.IfExp):
        # `Dropout(p) if p else Identity()`: the one that does something.
        kind, make = layer(module, value.body)
        if kind in ("?", "torch.nn.Identity"):
            return layer(module, value.orelse)
        return kind, make
    if isinstance(value, ast.Call):
        kind = module.resolve(value.func)
        if kind.startswith(("torch.nn.", "torch.")) and kind.rpartition(".")[2][:1].isupper():
            return kind, value
    return "?", None


def _unwrapped(module: Module, value: ast.expr) -> ast.expr:
    while isinstance(value, ast.Call):
        function = value.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call):
            if function.attr not in _names.SELF_METHODS:
                break
            value = function.value
        elif value.args and module.resolve(function) in _names.REWEIGHTED:
            value = value.args[0]
        else:
            break
    return value


def sequential_items(call: ast.Call) -> list[ast.expr]:
    """Return the layer expressions of a `Sequential(...)`, also of an OrderedDict inside it."""
    if len(call.args) == 1 and isinstance(call.args[0], ast.Call):
        inner = call.args[0]
        pairs: list[ast.expr] = []
        if inner.args and isinstance(inner.args[0], ast.List | ast.Tuple):
            pairs = inner.args[0].elts
        values = [
            pair.elts[1] for pair in pairs if isinstance(pair, ast.Tuple) and len(pair.elts) == 2
        ]
        if values and len(values) == len(pairs):
            return values
    items: list[ast.expr] = []
    for argument in call.args:
        if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.List):
            items.extend(argument.value.elts)
        else:
            items.append(argument)
    return items


def rate(op: Op) -> float | None:
    """Return the literal rate of a dropout operation; None if it is not a literal."""
    if op.kind in _names.MODULES:
        if op.make is None:
            return None
        given = _names.argument(op.make, "p", 0)
        return 0.5 if given is None and not _names.has_unpacking(op.make) else _names.number(given)
    functional = _names.FUNCTIONS.get(op.kind)
    if functional is not None and isinstance(op.node, ast.Call):
        given = functional.rate_of(op.node)
        return 0.5 if given is None else _names.number(given)
    return None
