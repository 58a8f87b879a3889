"""Batching rules of our own for the layers where those of `torch.func.vmap` are slow on a CPU.

A population is two nested `vmap`s: arms inside, seeds outside. All arms of a seed read the same
batch, so the first layer sees an input without an arm axis, and its product for all arms is one
wide product. Later layers have an input for each member and become batched products. torch's own
rules expand the shared input, and turn convolutions into grouped ones.

The rules stand in for `torch.nn.functional` while a population is traced, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class BatchingRules(TorchFunctionMode):
    """Inside, `vmap` batches linear layers and embeddings by the rules of this file."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Send the call to its rule, if it has one."""
        return _RULES.get(func, func)(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kind = input.device.type
    # autocast knows nothing of this rule's backward
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        input, weight = input.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return Linear.apply(input, weight, bias)  # pyright: ignore[reportReturnType]


def _embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, *rest: Any, **options: Any
) -> Tensor:
    """Torch's rule forgets that the row of the padding has no gradient."""
    if padding_idx is not None:
        rows = torch.arange(weight.shape[0], device=weight.device)[:, None]
        weight = torch.where(rows == padding_idx % weight.shape[0], weight.detach(), weight)
    return F.embedding(input, weight, padding_idx, *rest, **options)


def _normalize(input: Tensor, *arguments: Any, out: Tensor | None = None, **options: Any) -> Tensor:
    """Torch has no rule for results that are written to a given tensor, as spectral_norm does."""
    found = F.normalize(input, *arguments, **options)
    return found if out is None else out.copy_(found)


_RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.embedding: _embedding,
    F.linear: _linear,
    F.normalize: _normalize,
}


def batch_first(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Return `x` with its batch axis first; without one, it is repeated without a copy."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


class Linear(Function):
    """y = x W^T + b for one member, with a rule for many."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        flat = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ weight if ctx.needs_input_grad[0] else None,
            flat.t() @ x.reshape(-1, x.shape[-1]) if ctx.needs_input_grad[1] else None,
            flat.sum(0) if ctx.needs_input_grad[2] else None,
        )

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride] # torch names no arguments
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Any, int]:
        size = info.batch_size
        if in_dims[1] is None and in_dims[2] is None and in_dims[0] is not None:
            return Linear.apply(x.movedim(in_dims[0], 0), weight, bias), 0
        weight = batch_first(weight, in_dims[1], size)
        bias = None if bias is None else batch_first(bias, in_dims[2], size)
        if in_dims[0] is None:
            rows = None if bias is None else bias.unsqueeze(0)
            y = Wide.apply(x.unsqueeze(0), weight.unsqueeze(0), rows)
            return y.squeeze(0), 0  # pyright: ignore[reportOptionalMemberAccess]
        return Own.apply(x.movedim(in_dims[0], 0), weight, bias), 0


class Wide(Function):
    """Members of one seed share an input: x (S, ..., in), W (S, A, out, in) -> (S, A, ..., out)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seeds, arms, outputs, inputs = weight.shape
        flat = x.reshape(seeds, -1, inputs)
        wide = weight.reshape(seeds, arms * outputs, inputs).transpose(1, 2)
        if bias is None:
            y = torch.bmm(flat, wide)
        else:
            y = torch.baddbmm(bias.reshape(seeds, 1, arms * outputs), flat, wide)
        # laid out member by member: what follows would be slower on every arm's scattered rows
        y = y.view(seeds, flat.shape[1], arms, outputs).transpose(1, 2).contiguous()
        return y.unflatten(2, x.shape[1:-1]) if x.dim() != 3 else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        seeds, arms, outputs, inputs = weight.shape
        grad = grads[0].reshape(seeds, arms, -1, outputs)
        wide = grad.transpose(1, 2).reshape(seeds, -1, arms * outputs)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.bmm(wide, weight.reshape(seeds, arms * outputs, inputs)).view(x.shape)
        if ctx.needs_input_grad[1]:
            flat = x.reshape(seeds, -1, inputs)
            grad_weight = torch.bmm(wide.transpose(1, 2), flat).view(weight.shape)
        return grad_x, grad_weight, grad.sum(2) if ctx.needs_input_grad[2] else None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride] # torch names no arguments
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Any, int]:
        # Wide is entered with one seed; here are the others
        size = info.batch_size
        weight = batch_first(weight, in_dims[1], size)
        bias = None if bias is None else batch_first(bias, in_dims[2], size)
        inner = weight.shape[1]
        if in_dims[0] is None and inner == 1:  # one input for all seeds: they are as good as arms
            flat = None if bias is None else bias.flatten(0, 2)[None]
            y = Wide.apply(x, weight.flatten(0, 2)[None], flat)
            return y.unflatten(1, weight.shape[:3]).squeeze(0), 0  # pyright: ignore
        flat = None if bias is None else bias.flatten(0, 1)
        x = batch_first(x, in_dims[0], size).flatten(0, 1)
        return Wide.apply(x, weight.flatten(0, 1), flat).unflatten(0, (size, inner)), 0  # pyright: ignore


class Own(Function):
    """Every member has its input: x (K, ..., in), W (K, out, in), b (K, out) -> (K, ..., out)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        members, outputs, inputs = weight.shape
        flat = x.reshape(members, -1, inputs)
        if bias is None:
            y = torch.bmm(flat, weight.transpose(1, 2))
        else:
            y = torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2))
        return y.view(*x.shape[:-1], outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        members, outputs, inputs = weight.shape
        grad = grads[0].reshape(members, -1, outputs)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.bmm(grad, weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.bmm(grad.transpose(1, 2), x.reshape(members, -1, inputs))
        return grad_x, grad_weight, grad.sum(1) if ctx.needs_input_grad[2] else None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride] # torch names no arguments
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Any, int]:
        size = info.batch_size
        weight = batch_first(weight, in_dims[1], size)
        x = batch_first(x, in_dims[0], size)
        bias = None if bias is None else batch_first(bias, in_dims[2], size).flatten(0, 1)
        y = Own.apply(x.flatten(0, 1), weight.flatten(0, 1), bias)
        return y.unflatten(0, weight.shape[:2]), 0  # pyright: ignore[reportOptionalMemberAccess]
