"""Writing the operations of a traced graph as the source of one function."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from droplab.ops.dispatch import bind_dropout, run_dropout
from droplab.train.optimizers import lie_together

_aten = torch.ops.aten


_DROPOUT = torch.ops.droplab.dropout.default


def _lstm_layer(*args: Any) -> tuple[Tensor, ...]:
    """Run an LSTM of oneDNN, which keeps what its backward pass needs only where gradients are on.

    Below autograd, so that they are on for this and nothing is recorded for them.
    """
    with torch._C._AutoDispatchBelowAutograd(), torch.enable_grad():
        return _LSTM(*args)


_LSTM = _aten.mkldnn_rnn_layer.default

# Python bindings parse their arguments faster than the generic operator call.
_FASTER: dict[Any, Callable[..., Any]] = {
    _aten.addmm.default: torch.addmm,
    _aten.mm.default: torch.mm,
    _aten.bmm.default: torch.bmm,
    _aten.baddbmm.default: torch.baddbmm,
    _aten.t.default: torch.t,
    _aten.relu.default: torch.relu,
    _aten.add.Tensor: torch.add,
    _aten.mul.Tensor: torch.mul,
    _aten._foreach_add_.Scalar: torch._foreach_add_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._fused_adam_.default: torch._fused_adam_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._fused_adam_.tensor_lr: torch._fused_adam_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._fused_adamw_.tensor_lr: torch._fused_adamw_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._fused_adamw_.default: torch._fused_adamw_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._fused_sgd_.default: torch._fused_sgd_,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten.sum.dim_IntList: torch.sum,
    _aten.clone.default: torch.clone,
    _aten._log_softmax.default: torch._log_softmax,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _aten._log_softmax_backward_data.default: torch._log_softmax_backward_data,  # pyright: ignore[reportPrivateImportUsage] # no public name
    _DROPOUT: run_dropout,
    _LSTM: _lstm_layer,
}
SAME_START = frozenset(
    {
        _aten.detach.default,
        _aten.alias.default,
        _aten.t.default,
        _aten.view.default,
        _aten._unsafe_view.default,
        _aten.transpose.int,
        _aten.permute.default,
        _aten.unsqueeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.expand.default,
    }
)
"""Views that begin at the first element of what they look at."""

VIEWS = SAME_START | {_aten.select.int, _aten.unbind.int, operator.getitem}
"""Operators whose result lies in the memory of their first argument."""


class Writer:
    """Source of a function, line by line.

    Chains of views are written as one `as_strided` where they are used; on constants they are
    carried out once and for all.

    Args:
        kept: Nodes whose memory the caller of the function gets.
    """

    def __init__(self, kept: set[fx.Node]) -> None:
        self.result = "None"
        self._kept = kept
        self._names: dict[fx.Node, str] = {}
        self._roots: dict[fx.Node, fx.Node] = {}
        self._constants: dict[str, Any] = {}
        self._by_identity: dict[int, str] = {}
        self._arguments: list[str] = []
        self._lines: list[str] = []
        self._last_use: dict[str, int] = {}

    def argument(self, node: fx.Node) -> None:
        """Take an argument of the function."""
        name = f"x{len(self._arguments)}"
        self._arguments.append(name)
        self._names[node] = name
        # the strides of all that follows are those that were recorded
        self._lines.append(f"    {name} = {name}.contiguous()")

    def constant(self, node: fx.Node, value: Any) -> None:
        """Give a node a value that never changes place."""
        self._names[node] = self._constant(value)

    def _constant(self, value: Any) -> str:
        name = self._by_identity.get(id(value))
        if name is None:
            name = self._by_identity[id(value)] = f"c{len(self._constants)}"
            self._constants[name] = value
        return name

    def call(self, node: fx.Node) -> None:
        """Write a call, unless it is a view that can wait or be carried out now."""
        if node in self._names:  # written along with what it is a view of
            return
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and node.target in VIEWS:
            name = self._names.get(source)
            if name in self._constants:
                value = self._constants[name]
                if isinstance(value, (Tensor, list, tuple)):
                    self.constant(node, carry_out(node, value))
                    return
            elif node.target in SAME_START and "val" in node.meta and "val" in source.meta:
                self._roots[node] = self._roots.get(source, source)
                return
        self._finish_views(node)
        shorter = _SHORTER.get(node.target)
        if shorter is not None and node not in self._kept and shorter(self, node):
            return
        target = _FASTER.get(node.target, node.target)
        call = [self.write(value) for value in node.args]
        call += [f"{key}={self.write(value)}" for key, value in node.kwargs.items()]
        self._line(node, f"{self._constant(target)}({', '.join(call)})")

    def dropout(self, node: fx.Node) -> bool:
        """Write dropout with its key and rate looked up, if they are constants and x is small."""
        if node.kwargs:
            return False
        x, key, rate, *rest = node.args
        values = [self._value(key), self._value(rate)]
        like: Any = isinstance(x, fx.Node) and x.meta.get("val")
        if not isinstance(like, Tensor) or not isinstance(values[0], Tensor):
            return False
        if isinstance(rate, fx.Node) and values[1] is None:
            return False
        example = torch.empty_strided(like.size(), like.stride(), dtype=like.dtype)
        bound = bind_dropout(example, *values, *rest)  # pyright: ignore[reportArgumentType]
        if bound is not None:
            self._line(node, f"{self._constant(bound)}({self.write(x)})")
        return bound is not None

    def count(self, node: fx.Node) -> bool:
        """Write one addition for counters that lie side by side."""
        counters, step = node.args
        assert isinstance(counters, (list, tuple))
        whole = lie_together([self._value(counter) for counter in counters])
        if whole is None or node.users:
            return False
        self._line(node, f"{self._constant(whole.add_)}({self.write(step)})")
        return True

    def one(self, node: fx.Node) -> bool:
        """Make the gradient of a loss for itself a constant, unless something may change it."""
        like: Any = node.meta.get("val")
        places = [value.device for value in self._constants.values() if isinstance(value, Tensor)]
        if like.dim() or any(user.target in VIEWS or _changes(user) for user in node.users):
            return False
        if not places:
            return False
        self.constant(node, torch.ones((), dtype=like.dtype, device=places[0]))
        return True

    def total(self, node: fx.Node) -> bool:
        """Write a sum that keeps its axes, only to lose them in a view, without them."""
        x, axes, *keep = node.args
        view = next(iter(node.users), node)
        if keep != [True] or node.kwargs or len(node.users) != 1:
            return False
        if view.target is not _aten.view.default:
            return False
        assert isinstance(x, fx.Node)
        assert isinstance(axes, (list, tuple))
        gone = [axis % x.meta["val"].dim() for axis in axes]  # pyright: ignore[reportOperatorIssue]
        left = [size for axis, size in enumerate(x.meta["val"].size()) if axis not in gone]
        if left != list(view.meta["val"].size()):
            return False
        self._line(view, f"{self._constant(torch.sum)}({self.write(x)}, {axes})")
        return True

    def _value(self, node: Any) -> Any:
        """Return the constant that a node stands for, None if it is none, or what is no node."""
        return self._constants.get(self._names[node]) if isinstance(node, fx.Node) else node

    def _line(self, node: fx.Node, expression: str) -> None:
        name = self._names[node] = f"v{len(self._lines)}"
        self._last_use[name] = len(self._lines)
        self._lines.append(f"    {name} = {expression}")

    def give_back(self, node: fx.Node) -> None:
        """Write what the function returns."""
        self._finish_views(node)
        self.result = self.write(node.args[0])

    def _finish_views(self, node: fx.Node) -> None:
        for needed in node.all_input_nodes:
            if needed not in self._names:
                self._view(needed)

    def write(self, value: Any) -> str:
        """Return the source of an argument."""
        if isinstance(value, fx.Node):
            name = self._names[value]
            self._last_use[name] = len(self._lines)
            return name
        if isinstance(value, (list, tuple)):
            inner = "".join(f"{self.write(item)}, " for item in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        if value is None or isinstance(value, (bool, int, str)):
            return repr(value)
        return self._constant(value)

    def _view(self, node: fx.Node) -> None:
        """Write a chain of views down to `node` in one go."""
        root = self._roots[node]
        want, have = node.meta["val"], root.meta["val"]
        size, stride = tuple(want.size()), tuple(want.stride())
        if size == tuple(have.size()) and stride == tuple(have.stride()):
            self._names[node] = self._names[root]
            return
        source = self._names[root]
        self._last_use[source] = len(self._lines)
        self._line(node, f"{self._constant(torch.as_strided)}({source}, {size}, {stride})")

    def function(self) -> Callable[..., Any]:
        """Return the function."""
        for name, index in self._last_use.items():  # memory is given back as early as it can be
            if name.startswith("v") and index < len(self._lines):
                self._lines[index] += f"; del {name}"
        bound = "".join(f", {name}={name}" for name in self._constants)
        head = f"def replay({', '.join(self._arguments)}{bound}):"
        source = "\n".join([head, *self._lines, f"    return {self.result}"])
        scope: dict[str, Any] = dict(self._constants)
        exec(source, scope)
        scope["replay"].source = source
        return scope["replay"]


_SHORTER: dict[Any, Callable[[Writer, fx.Node], bool]] = {
    _DROPOUT: Writer.dropout,
    _aten._foreach_add_.Scalar: Writer.count,
    _aten.ones_like.default: Writer.one,
    _aten.sum.dim_IntList: Writer.total,
}
"""Operators with a shorter way to write them, which says whether it could be taken."""


def _changes(node: fx.Node) -> bool:
    """Whether a call may change a tensor in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable


def carry_out(node: fx.Node, value: Any) -> Any:
    """Return the view of a tensor that a node stands for."""
    return node.target(value, *node.args[1:], **node.kwargs)  # pyright: ignore[reportCallIssue]
