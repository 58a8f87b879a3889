"""Questions about the place of an operation in a graph, shared by the checks of placement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from droplab.doctor import _names
from droplab.doctor._flow import Graph, Op, rate
from droplab.doctor._graphs import graphs
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from droplab.doctor.live._events import Node

POOLS = frozenset(
    f"torch.nn.{name}{rank}d"
    for name in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool")
    for rank in (1, 2, 3)
) | frozenset(
    f"torch.nn.functional.{name}{rank}d"
    for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
    for rank in (1, 2, 3)
)
_LARGEST = 7
SELU = frozenset({"torch.nn.SELU", "torch.nn.functional.selu", "torch.selu", "torch.selu_"})
PLAIN_DROPOUTS = frozenset({"torch.nn.Dropout", "torch.nn.functional.dropout", "torch.dropout"})
DROPOUTS = frozenset(_names.MODULES) | frozenset(_names.FUNCTIONS)
THROUGH = _names.SHAPELESS_ACTIVATIONS | POOLS | _names.SAME_VALUES

_Operation = TypeVar("_Operation", Op, "Node")
"""Read from source, or seen in a run."""


def dropouts(module: Module, kinds: frozenset[str] = DROPOUTS) -> Iterator[tuple[Graph, Op]]:
    """Yield every dropout operation of a file with its graph, except those that never drop."""
    for graph in graphs(module):
        for op in graph.ops:
            if op.kind in kinds and rate(op) != 0.0 and op.inputs and not _switched_off(op):
                yield graph, op


def _switched_off(op: Op) -> bool:
    """Whether a function gets training=False, so that it never drops."""
    functional = _names.FUNCTIONS.get(op.kind)
    if functional is None or not isinstance(op.node, ast.Call):
        return False
    flag = functional.flag_of(op.node)
    return isinstance(flag, ast.Constant) and not flag.value


def back(op: Op | None, through: frozenset[str]) -> Op | None:
    """Follow main inputs backwards over operations of the named kinds.

    Where branches meet, all of them must come from one operation, as over an optional layer.
    """
    return _back(op, through, {})


def _back(op: Op | None, through: frozenset[str], known: dict[Op, Op | None]) -> Op | None:
    while op is not None and op.kind in through:
        op = op.first
    if op is None or op.kind != "phi":
        return op
    if op not in known:
        ends = {_back(part, through, known) for part in op.inputs}
        known[op] = ends.pop() if len(ends) == 1 else None
    return known[op]


def forth(op: _Operation, through: frozenset[str]) -> list[_Operation]:
    """Return what finally uses an operation, beyond the named kinds and where branches meet."""
    found: list[_Operation] = []
    todo: list[Any] = list(op.users)
    seen: set[int] = set()
    while todo:
        user = todo.pop()
        if id(user) in seen:
            continue
        seen.add(id(user))
        if user.users and (user.kind in through or user.kind == "phi"):
            todo.extend(user.users)
        else:
            found.append(user)
    return found


def spatial(op: Op) -> bool:
    """Return whether an operation is a convolution that looks at a pixel and its neighbours.

    A kernel above 7 usually covers the whole map: that is a fully connected layer. A transposed one
    whose steps are as wide as its kernel looks at one pixel at a time.
    """
    if op.kind not in _names.CONVOLUTIONS or op.make is None:
        return False
    if op.kind.endswith("1d"):
        return False
    size = _names.argument(op.make, "kernel_size", 1 if "Lazy" in op.kind else 2)
    sizes = size.elts if isinstance(size, ast.Tuple) else [size]
    numbers = [_names.number(item) for item in sizes]
    if "Transpose" in op.kind:
        step = _names.argument(op.make, "stride", 2 if "Lazy" in op.kind else 3)
        if step is not None and size is not None and ast.dump(step) == ast.dump(size):
            return False
    return None not in numbers and 1 < max(n for n in numbers if n is not None) <= _LARGEST
