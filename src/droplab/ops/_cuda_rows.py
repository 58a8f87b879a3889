"""The CUDA backend: tensors in, kernels of `_cuda` on their memory, tensors out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from droplab.ops import _cuda
from droplab.ops._cuda import PIECE
from droplab.ops._cuda_plan import make_plan
from droplab.ops.layout import BLOCK, RUN, WORD_BLOCK

# Triton's kernels are called by kernel[grid](...), which no annotation of theirs says.
mask_kernel: Any = _cuda.mask_kernel
words_kernel: Any = _cuda.words_kernel


def dropout_rows(x: Tensor, key: Tensor, rate: Tensor) -> Tensor:
    """Return x / (1 - rate) where kept and +0 where dropped, for x of shape (R, N)."""
    rows, n = x.shape
    step = n
    if rows > 1 and x.stride(0) == 0 and x[0].is_contiguous():
        step = 0  # all rows read the same memory
    else:
        x = x.contiguous()
    out = torch.empty((rows, n), dtype=x.dtype, device=x.device)
    _launch_mask(x, step, out, key, rate, drops=True)
    return out


def keep_rows(rows: int, n: int, key: Tensor, rate: Tensor, device: torch.device) -> Tensor:
    """Return the keep mask, bool of shape (rows, n)."""
    out = torch.empty((rows, n), dtype=torch.bool, device=device)
    if out.numel():
        _launch_mask(out, n, out, key, rate, drops=False)
    return out


def word_rows(rows: int, n: int, key: Tensor, device: torch.device) -> Tensor:
    """Return the 32-bit words as int32 of the same bits, shape (rows, n)."""
    out = torch.empty((rows, n), dtype=torch.int32, device=device)
    if not out.numel():
        return out
    plan = make_plan(key, torch.zeros(1, dtype=torch.float64), device)
    pieces = -(-n // WORD_BLOCK) * (RUN // PIECE)
    with _on(device):
        words_kernel[(rows * pieces,)](out, plan, n, pieces, _step(plan), piece=PIECE)
    return out


def _launch_mask(
    x: Tensor, step: int, out: Tensor, key: Tensor, rate: Tensor, *, drops: bool
) -> None:
    rows, n = out.shape
    plan = make_plan(key, rate, out.device)
    pieces = -(-n // BLOCK) * (RUN // PIECE)
    with _on(out.device):
        mask_kernel[(rows * pieces,)](
            x, out, plan, step, n, pieces, _step(plan),
            drops=drops, wide=x.dtype == torch.float64, piece=PIECE,
        )  # fmt: skip


def _step(plan: Tensor) -> int:
    return 0 if len(plan) == 1 else 3


def _on(device: torch.device) -> torch.cuda.device:
    return torch.cuda.device(device if device.type == "cuda" else -1)
