"""Derivatives of dropout outside the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from droplab.ops._batching import batch_dropout
from droplab.ops._library import dropout_op, keep_mask_op
from droplab.ops._reference import level_and_scale, scaled
from droplab.ops.dispatch import run_dropout
from droplab.ops.transforms import (
    PLAIN_TYPES,
    is_batched_gradient,
    is_plain,
    transforms_active,
)


def _again(x: Tensor, saved: tuple[Tensor, Tensor | None], rest: tuple[Any, ...]) -> Tensor:
    """Return the dropout of x with a mask that was used before.

    Dropout with a fixed mask is linear and symmetric, so this is its derivative forward and
    backward, to any order. Nothing but the key is kept from one time to the next.
    """
    key, rate = saved
    if is_batched_gradient(x):  # for which no rule can be given
        return traced_dropout(x, key, rate, *rest)
    if is_plain() and type(x) in PLAIN_TYPES:
        if torch.is_grad_enabled() and x.requires_grad:
            return eager_dropout(x, key, rate, *rest)
        return run_dropout(x, key, rate, *rest)
    if transforms_active():
        return TransformedDropout.apply(x, key, rate, *rest)  # pyright: ignore[reportReturnType]
    return dropout_op(x, key, rate, *rest)


def traced_dropout(
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: tuple[int, ...] | None,
    backend: str | None,
    batched: bool,
) -> Tensor:
    """Return the same by torch's own operators on a mask.

    For batched gradients, and for transforms of `torch.func` inside compiled code: there neither
    the autograd formula of a custom operator nor the `vmap` rule of an autograd function works. The
    compiler may keep the mask for the backward pass.
    """
    inner = tuple(x.shape[1:] if batched else x.shape) if noise_shape is None else noise_shape
    keep = keep_mask_op(inner, key, rate, p, x.shape[0] if batched else 0, x.device, backend)
    wide = torch.full((), p, dtype=torch.float64) if rate is None else rate.double()
    _, scale = level_and_scale(wide, x.device)
    if scale.dim() == 1:
        scale = scale.view(-1, *[1] * (x.dim() - 1))
    return torch.where(keep, scaled(x, scale), torch.zeros((), dtype=x.dtype, device=x.device))


class EagerDropout(torch.autograd.Function):
    """Dropout for plain eager code, where the custom operator would cost more than the work."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, key, rate, *rest = inputs
        ctx.rest = rest
        ctx.save_for_backward(key, rate)
        return run_dropout(x, key, rate, *rest)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (_again(grads[0], ctx.saved_tensors, ctx.rest), *[None] * 6)


# Without torch's wrapper in Python, which only serves the transforms that `is_plain` has excluded;
# it takes a third of the time of the call.
_bare: Any = super(torch.autograd.Function, EagerDropout)
eager_dropout: Callable[..., Tensor] = _bare.apply


class TransformedDropout(torch.autograd.Function):
    """Dropout under the transforms of `torch.func` and in forward mode.

    The autograd formula of a custom operator does not work there.
    """

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return dropout_op(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, key, rate, *ctx.rest = inputs
        ctx.save_for_backward(key, rate)
        ctx.save_for_forward(key, rate)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (_again(grads[0], ctx.saved_tensors, ctx.rest), *[None] * 6)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _again(tangent, ctx.saved_tensors, ctx.rest)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        key: Tensor,
        rate: Tensor | None,
        *rest: Any,
    ) -> tuple[Tensor, int]:
        *others, batched = rest
        size = info.batch_size
        flat, key, rate, inner = batch_dropout(size, in_dims, x, key, rate, batched)
        out: Any = TransformedDropout.apply(flat, key, rate, *others, True)
        return (out.unflatten(0, (size, inner)) if batched else out), 0
