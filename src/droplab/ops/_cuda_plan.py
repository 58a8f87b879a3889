"""What a CUDA kernel is told about its rows; apart from the kernels, so that it needs no triton."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.probability import LEVELS


def make_plan(key: Tensor, rate: Tensor, device: torch.device) -> Tensor:
    """Return int64 rows of (stream key, call word, level) on the device.

    What lives on the CPU goes over in one copy. What lives on the device is never waited for, so a
    rate that is none cannot be refused there: its level is -1, which the kernel turns into NaN.

    Args:
        key: (1 or R, 2), on the CPU or on the device.
        rate: (1 or R,) in float64, likewise.
        device: Where the kernel runs.

    Raises:
        ArgumentError: While a CUDA graph is captured, if the key or several rates live on the CPU:
            every replay would use them again.
    """
    if key.is_cpu and rate.is_cpu:
        _refuse_capture("key", device)
        return _rows(key, rate).to(device, non_blocking=True)
    if key.is_cpu:
        _refuse_capture("key", device)
    if rate.is_cpu and len(rate) == 1:  # by a kernel: a graph may hold it
        rate = torch.full((1,), float(rate), dtype=torch.float64, device=device)
    elif rate.is_cpu:
        _refuse_capture("p", device)
    return _rows(key.to(device), rate.to(device))


def _rows(key: Tensor, rate: Tensor) -> Tensor:
    level = torch.round(rate * LEVELS)
    usable = (rate >= 0) & (rate <= 1)
    usable &= (level == 0) == (rate == 0)
    usable &= (level == LEVELS) == (rate == 1)
    level = torch.where(usable, level, -1.0).to(torch.int64)
    rows = max(len(key), len(level))
    return torch.cat((key.expand(rows, 2), level[:, None].expand(rows, 1)), dim=1)


def _refuse_capture(name: str, device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise ArgumentError(
            f"dropout: {name}: expected a tensor on {device} while a CUDA graph is captured, got "
            "one on the CPU, which every replay would use again; pass key=make_key(..., "
            "device='cuda') and change it in place between replays"
        )
