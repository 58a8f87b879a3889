"""The operations of a step that are known in C: what each writes, and what it refuses."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from droplab.ops.dispatch import mask_kernel_address
from droplab.ops.layout import BLOCK
from droplab.train._step import UnsupportedError
from droplab.train.compiled._program import Program

_aten = torch.ops.aten
_UNUSUAL = ("amsgrad", "maximize", "grad_scale", "found_inf")


def _product(to: Program, node: fx.Node, a: Any, b: Any, bias: str) -> None:
    x, m, k, down, right = to.matrix(a)
    w, _, n, b_down, b_right = to.matrix(b)
    out = to.result(node)
    if b_down == 1 and b_right == k and right == 1 and down == k:
        to.write(f"dots({m}, {n}, {k}, {x}, {w}, {bias}, {out});")
    elif b_right == 1 and b_down == n and bias == "0":
        to.write(f"rows({m}, {n}, {k}, {x}, {down}, {right}, {w}, {out});")
    else:
        raise UnsupportedError("a product of matrices that lie in another order")


def _addmm(to: Program, node: fx.Node) -> None:
    bias, a, b = node.args
    if node.kwargs or bias.meta["val"].stride() != (1,):  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        raise UnsupportedError("a product that is scaled, or with an unusual bias")
    _product(to, node, a, b, to.place(bias))


def _mm(to: Program, node: fx.Node) -> None:
    a, b = node.args
    _product(to, node, a, b, "0")


def _elementwise(name: str) -> Callable[[Program, fx.Node], None]:
    def emit(to: Program, node: fx.Node) -> None:
        tensors = [to.place(arg) for arg in node.args if isinstance(arg, fx.Node)]
        if any(arg != 0 for arg in node.args if not isinstance(arg, fx.Node)):
            raise UnsupportedError(f"{node.target} at another threshold than 0")
        _check_same_layout(node)
        places = ", ".join([*tensors, to.result(node)])
        to.write(f"{name}({node.meta['val'].numel()}, {places});")

    return emit


def _check_same_layout(node: fx.Node) -> None:
    for arg in node.all_input_nodes:
        if not arg.meta["val"].is_contiguous():
            raise UnsupportedError(f"{node.target} of a transposed matrix")


def _rowwise(name: str) -> Callable[[Program, fx.Node], None]:
    def emit(to: Program, node: fx.Node) -> None:
        like = node.meta["val"]
        axis = next(arg for arg in node.args if type(arg) is int)
        if like.dim() != 2 or axis != 1:
            raise UnsupportedError(f"{node.target} over another axis than the last of two")
        _check_same_layout(node)
        places = [to.place(arg) for arg in node.args if isinstance(arg, fx.Node)]
        to.write(
            f"{name}({like.shape[0]}, {like.shape[1]}, {', '.join(places)}, {to.result(node)});"
        )

    return emit


def _column_sums(to: Program, node: fx.Node) -> None:
    x, axes, *_ = node.args
    source = x.meta["val"]  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    if axes != [0] or source.dim() != 2 or not source.is_contiguous() or node.kwargs:
        raise UnsupportedError("a sum over another axis than the first of two")
    to.write(
        f"column_sums({source.shape[0]}, {source.shape[1]}, {to.place(x)}, {to.result(node)});"
    )


def _nothing(to: Program, node: fx.Node) -> None:
    """The mean loss itself is read by nobody, nor is the number of examples."""


def _one(to: Program, node: fx.Node) -> None:
    if node.meta["val"].dim():
        raise UnsupportedError("ones in another shape than that of a loss")
    to.constant(node, torch.ones(()))


def _nll_backward(to: Program, node: fx.Node) -> None:
    gradient, _, targets, weight, reduction, _, _ = node.args
    like = node.meta["val"]
    if weight is not None or reduction != 1 or like.dim() != 2:
        raise UnsupportedError("a loss that is not the mean over the examples")
    places = f"{to.place(gradient)}, {to.place(targets)}, {to.result(node)}"
    to.write(f"if (nll_backward({like.shape[0]}, {like.shape[1]}, {places})) return -1;")


def _dropout(to: Program, node: fx.Node) -> None:
    x, key, rate, p, noise_shape, backend, batched = node.args
    address = mask_kernel_address()
    if noise_shape is not None or backend not in (None, "cpu") or batched or address is None:
        raise UnsupportedError("dropout by another way than the plain one of the CPU")
    _check_same_layout(node)
    held = to.value(rate) if isinstance(rate, fx.Node) else torch.tensor(p, dtype=torch.float64)
    if held.dtype is not torch.float64 or held.dim() or to.value(key).stride() != (1,):
        raise UnsupportedError("dropout with several rates")
    n = node.meta["val"].numel()
    data = f"{to.place(x)}, {n}, {to.result(node)}, 1, {n}"
    drawn = f"{to.place(key)}, 0, {to.pointer(held)}, 0"
    kernel = to.address(address)
    to.status(f"((mask_kernel){kernel})({data}, {drawn}, 0, {-(-n // BLOCK)})", held)


def _count(to: Program, node: fx.Node) -> None:
    counters, step = node.args
    for counter in counters:  # pyright: ignore[reportOptionalIterable, reportGeneralTypeIssues]
        to.value(counter)
        to.write(f"*{to.place(counter)} += {float(step)};")  # pyright: ignore[reportArgumentType]


def _number(to: Program, value: Any) -> str:
    """Return the pointer to a number: in the source, each would be a program of its own."""
    if isinstance(value, fx.Node):
        return to.place(value)
    return to.pointer(torch.tensor(value, dtype=torch.float64))


def _adam(decoupled: bool) -> Callable[[Program, fx.Node], None]:
    def emit(to: Program, node: fx.Node) -> None:
        parameters, gradients, first, second, largest, steps = node.args[:6]
        options = node.kwargs
        if largest or any(options.get(name) for name in _UNUSUAL):
            raise UnsupportedError(f"no C is known for Adam with any of {', '.join(_UNUSUAL)}")
        names = ("lr", "beta1", "beta2", "weight_decay", "eps")
        numbers = ", ".join(f"*{_number(to, options[name])}" for name in names)
        for own in zip(parameters, gradients, first, second, steps, strict=True):  # pyright: ignore[reportArgumentType]
            if len({node.meta["val"].stride() for node in own[:4]}) > 1:
                raise UnsupportedError("a gradient that lies in another order than its parameter")
            places = [to.place(node) for node in own]
            size = own[0].meta["val"].numel()
            places = f"{', '.join(places[:4])}, *{places[4]}, {numbers}"
            to.write(f"adam({size}, {places}, {int(decoupled)});")

    return emit


EMITTERS: dict[Any, Callable[[Program, fx.Node], None]] = {
    _aten.addmm.default: _addmm,
    _aten.mm.default: _mm,
    _aten.relu.default: _elementwise("relu"),
    _aten.threshold_backward.default: _elementwise("relu_backward"),
    _aten.sum.dim_IntList: _column_sums,
    _aten._log_softmax.default: _rowwise("log_softmax"),
    _aten._log_softmax_backward_data.default: _rowwise("log_softmax_backward"),
    _aten.nll_loss_forward.default: _nothing,
    operator.getitem: _nothing,
    _aten.nll_loss_backward.default: _nll_backward,
    _aten.ones_like.default: _one,
    torch.ops.droplab.dropout.default: _dropout,
    _aten._foreach_add_.Scalar: _count,
    _aten._fused_adam_.default: _adam(False),
    _aten._fused_adam_.tensor_lr: _adam(False),
    _aten._fused_adamw_.default: _adam(True),
    _aten._fused_adamw_.tensor_lr: _adam(True),
}
