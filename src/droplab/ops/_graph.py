"""droplab's operators as plain torch, for graphs that run without droplab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from droplab.ops._library import dropout_op, keep_mask_op, words_op
from droplab.ops._reference import blocks_of_lanes, blocks_of_words, level_and_scale, scaled
from droplab.ops.layout import BLOCK, WORD_BLOCK


def plain_operators() -> dict[Any, Callable[..., Tensor]]:
    """Return what stands for droplab's operators in a graph: the same bits, of any batch size.

    For `torch.export.ExportedProgram.run_decompositions`.
    """
    plain = {dropout_op: _dropout, keep_mask_op: _keep_mask, words_op: _words}
    return {op._opoverload: function for op, function in plain.items()}


def _keep(shape: Sequence[int], key: Tensor, rates: Tensor) -> Tensor:
    """Return the mask, (rows of key or rates, *shape)."""
    n = prod(shape)
    keys = key.reshape(-1, 2)
    level, _ = level_and_scale(rates, key.device)
    # as many blocks as hold n elements: n may be a symbol
    lanes = blocks_of_lanes(0, (n + BLOCK - 1) // BLOCK, keys)[..., :n]
    return (lanes >= level[:, None]).reshape(-1, *shape)


def _rates(rate: Tensor | None, p: float, device: torch.device) -> Tensor:
    if rate is not None:
        return rate.reshape(-1)
    return torch.full((1,), p, dtype=torch.float64, device=device)


def _dropout(
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: Sequence[int] | None,
    backend: str | None,
    batched: bool,
) -> Tensor:
    rates = _rates(rate, p, key.device)
    shape = (x.shape[1:] if batched else x.shape) if noise_shape is None else noise_shape
    keep = _keep(tuple(shape), key, rates)
    _, scale = level_and_scale(rates, key.device)
    if batched:
        scale = scale.reshape(-1, *[1] * (x.dim() - 1))
    else:
        keep, scale = keep.squeeze(0), scale.squeeze(0)
    return torch.where(keep, scaled(x, scale), torch.zeros((), dtype=x.dtype, device=x.device))


def _keep_mask(
    shape: Sequence[int],
    key: Tensor,
    rate: Tensor | None,
    p: float,
    rows: int,
    device: torch.device,
    backend: str | None,
) -> Tensor:
    keep = _keep(tuple(shape), key, _rates(rate, p, key.device))
    return keep.expand(rows, *shape) if rows else keep.squeeze(0)


def _words(
    shape: Sequence[int], key: Tensor, rows: int, device: torch.device, backend: str | None
) -> Tensor:
    n = prod(shape)
    words = blocks_of_words(0, (n + WORD_BLOCK - 1) // WORD_BLOCK, key.reshape(-1, 2))[..., :n]
    words = (words - ((words >> 31) << 32)).to(torch.int32).reshape(-1, *shape)
    return words.expand(rows, *shape) if rows else words.squeeze(0)
