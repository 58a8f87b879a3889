"""The custom operators: what the compiler, functorch and fake tensors see of the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from droplab.ops._batching import batch_dropout, per_row
from droplab.ops.dispatch import run_dropout, run_keep_mask, run_words


@torch.library.custom_op("droplab::dropout", mutates_args=())
def dropout_op(
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: Sequence[int] | None,
    backend: str | None,
    batched: bool,
) -> Tensor:
    """See `run_dropout`."""
    return run_dropout(x, key, rate, p, noise_shape, backend, batched)


@dropout_op.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, key, rate, *ctx.rest = inputs
    ctx.save_for_backward(key, rate)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # The mask is made again from its key; being the same linear map, it also is its own
    # derivative's rule, to any order.
    key, rate = ctx.saved_tensors
    return (dropout_op(grad, key, rate, *ctx.rest), None, None, None, None, None, None)


dropout_op.register_autograd(_backward, setup_context=_setup_context)


@dropout_op.register_vmap
def _(
    info: Any,
    in_dims: tuple[int | None, ...],
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: Sequence[int] | None,
    backend: str | None,
    batched: bool,
) -> tuple[Tensor, int]:
    size = info.batch_size
    flat, key, rate, inner = batch_dropout(size, in_dims, x, key, rate, batched)
    out = dropout_op(flat, key, rate, p, noise_shape, backend, True)
    return (out.unflatten(0, (size, inner)) if batched else out), 0


@torch.library.custom_op("droplab::keep_mask", mutates_args=())
def keep_mask_op(
    shape: Sequence[int],
    key: Tensor,
    rate: Tensor | None,
    p: float,
    rows: int,
    device: torch.device,
    backend: str | None,
) -> Tensor:
    """See `run_keep_mask`."""
    return run_keep_mask(shape, key, rate, p, rows, device, backend)


@keep_mask_op.register_fake
def _(shape: Sequence[int], key: Tensor, rate: Any, p: float, rows: int, device: Any, *_: Any):
    return torch.empty((rows, *shape) if rows else shape, dtype=torch.bool, device=device)


@keep_mask_op.register_vmap
def _(
    info: Any,
    in_dims: tuple[int | None, ...],
    shape: Sequence[int],
    key: Tensor,
    rate: Tensor | None,
    p: float,
    rows: int,
    device: torch.device,
    backend: str | None,
) -> tuple[Tensor, int]:
    size = info.batch_size
    key = per_row(key, in_dims[1], size, rows, 1)
    rate = None if rate is None else per_row(rate, in_dims[2], size, rows, 0)
    out = keep_mask_op(shape, key, rate, p, size * max(rows, 1), device, backend)
    return (out.unflatten(0, (size, rows)) if rows else out), 0


@torch.library.custom_op("droplab::words", mutates_args=())
def words_op(
    shape: Sequence[int], key: Tensor, rows: int, device: torch.device, backend: str | None
) -> Tensor:
    """See `run_words`."""
    return run_words(shape, key, rows, device, backend)


@words_op.register_fake
def _(shape: Sequence[int], key: Tensor, rows: int, device: Any, backend: Any) -> Tensor:
    return torch.empty((rows, *shape) if rows else shape, dtype=torch.int32, device=device)


@words_op.register_vmap
def _(
    info: Any,
    in_dims: tuple[int | None, ...],
    shape: Sequence[int],
    key: Tensor,
    rows: int,
    device: torch.device,
    backend: str | None,
) -> tuple[Tensor, int]:
    size = info.batch_size
    key = per_row(key, in_dims[1], size, rows, 1)
    out = words_op(shape, key, size * max(rows, 1), device, backend)
    return (out.unflatten(0, (size, rows)) if rows else out), 0
