"""What a function does to tensors, as a graph of the operations that torch carries out for it."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from droplab.train._step import NUMBER_TAKEN, UnsupportedError

_aten = torch.ops.aten
_PLAIN = (Tensor, torch.nn.Parameter)


class Trace(NamedTuple):
    """Operations in their order, and what no operation made of what they read, by its node."""

    graph: fx.Graph
    constants: dict[fx.Node, Tensor]


def trace_operations(function: Callable[..., Any], values: Sequence[Tensor]) -> Trace:
    """Return what `function(*values)` does below modules, autograd and transforms.

    torch's `make_fx` notes the same operations and takes several times as long, since it can also
    trace sizes that are symbols, values without memory and operators of higher order.

    Args:
        function: Called once. It returns tensors, or lists, tuples or dicts of them.
        values: Its arguments, which become those of the graph.

    Returns:
        The graph. The "val" of a node has the shape, strides and type of its result, and no memory.

    Raises:
        UnsupportedError: If the function takes a number out of a tensor that an operation made.
    """
    operations = _Operations()
    for value in values:
        operations.know(value, operations.graph.placeholder("x"))
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # it may hold what no operation of this trace made
    try:
        with operations:
            result = function(*values)
    finally:
        torch.set_autocast_cache_enabled(cached)
    operations.graph.output(operations.nodes_of(result, []))
    return Trace(operations.graph, operations.constants)


class _Value(NamedTuple):
    """A tensor of the trace: "given" to it, a "number" of Python, or "made" by an operation."""

    tensor: weakref.ref[Tensor]
    node: fx.Node
    kind: Literal["given", "number", "made"]


class _Operations(TorchDispatchMode):
    """Notes each operation as a node of a graph.

    A tensor is known by its identity. One that is not known is a constant: no operation made it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[fx.Node, Tensor] = {}
        self._values: dict[int, _Value] = {}

    def know(self, tensor: Tensor, node: fx.Node, kind: Any = "made") -> _Value:
        """Let a node stand for a tensor from now on."""
        node.meta["val"] = torch.empty_strided(
            tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta"
        )
        value = self._values[id(tensor)] = _Value(weakref.ref(tensor), node, kind)
        return value

    def _call(self, target: Any, args: Any, kwargs: Any = None) -> fx.Node:
        """Add a call; of what comes with a node, fx would look for symbols and make up a name."""
        graph = self.graph
        node = graph.create_node("call_function", target, name=f"n{len(graph.nodes)}")
        node.args = args
        if kwargs:
            node.kwargs = kwargs
        return node

    def nodes_of(self, given: Any, read: list[_Value]) -> Any:
        """Return what is given with nodes for tensors, which are added to those that are read."""
        if isinstance(given, Tensor):
            value = self._values.get(id(given))
            if value is None or value.tensor() is not given:
                node = self.graph.create_node("get_attr", f"constant{len(self.constants)}")
                self.constants[node] = given
                value = self.know(given, node, "given")
            read.append(value)
            return value.node
        if isinstance(given, (list, tuple)):
            found = [self.nodes_of(each, read) for each in given]
            return found if isinstance(given, list) else tuple(found)
        if isinstance(given, dict):
            return {key: self.nodes_of(each, read) for key, each in given.items()}
        return given

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation and note it."""
        if any(kind not in _PLAIN for kind in types):  # its own way leads down to plain tensors
            return NotImplemented
        kwargs = kwargs or {}
        if func.namespace == "profiler":  # marks for whoever measures
            return func(*args, **kwargs)
        read: list[_Value] = []
        given = self.nodes_of(args, read), self.nodes_of(kwargs, read)
        if torch.Tag.data_dependent_output in func.tags:
            if any(value.kind == "made" for value in read):
                raise UnsupportedError(f"its step cannot be traced: {NUMBER_TAKEN}")
            return func(*args, **kwargs)
        kind = "number" if read and all(value.kind == "number" for value in read) else "made"
        if func is _aten.lift_fresh.default:  # of a number, which later operations may change
            func, kind = _aten.lift_fresh_copy.default, "number"
        node = self._call(func, *given)
        result = func(*args, **kwargs)
        if func._schema.is_mutable and kind == "made":
            for value in read:
                self._values[id(value.tensor())] = value._replace(kind=kind)
        self._note(result, node, kind)
        return result

    def _note(self, result: Any, node: fx.Node, kind: str) -> None:
        """Let a node stand for the result of its operation."""
        if isinstance(result, Tensor):
            self.know(result, node, kind)
        elif isinstance(result, (list, tuple)):
            for place, each in enumerate(result):
                if isinstance(each, (Tensor, list, tuple)):
                    part = self._call(operator.getitem, (node, place))
                    self._note(each, part, kind)
