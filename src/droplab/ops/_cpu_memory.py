"""Memory for large outputs, used again when the tensor before is gone.

Fresh memory costs more than the masks: the system hands it out page by page, at the first touch,
which takes five to ten times as long as filling it. The C library keeps small blocks and gives
large ones back at once, so without this every large output would pay that again.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 20
"""Bytes from which memory is kept; the C library does well below."""

LARGEST = 1 << 27
"""Bytes up to which memory is kept."""

IDLE_LIMIT = 1 << 28
"""Bytes that are kept for later use at most."""

_HUGE_PAGE = 1 << 21
"""Blocks are made of huge pages where the system has them: far fewer look-ups of addresses."""

_PAGE = 1 << 12
"""Addresses that are equal modulo this share a set of the first cache, and a processor takes a load
for one of what was just stored."""

_LINE = 1 << 6

_SLACK = _HUGE_PAGE + _PAGE
"""Bytes of a block beyond its room, so that an output can begin where it should."""

_MADV_HUGEPAGE = 14

_Block = tuple[np.ndarray, int]
"""Memory, and where in it the first whole huge page begins."""

_lock = threading.RLock()  # the garbage collector may call _give_back inside _take
_idle: dict[int, list[_Block]] = {}
_idle_bytes = 0


_ARRAYS = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.int32: np.int32,
    torch.bool: np.bool_,
}
"""The dtypes that NumPy has as well; a tensor of another one takes a little longer to make."""


class _Lease(np.ndarray):
    """A view of a block that gives the block back when the last tensor on it is gone."""

    block: _Block | None

    def __del__(self) -> None:
        block = getattr(self, "block", None)  # a view of this view has none
        if block is not None:
            _give_back(block)


def empty(shape: Sequence[int], dtype: torch.dtype, *, source: Tensor | None = None) -> Tensor:
    """Return an uninitialised contiguous CPU tensor, an ordinary one but for where it comes from.

    Its storage cannot be resized, like that of a tensor from a NumPy array.

    Args:
        shape: Its shape.
        dtype: Its dtype.
        source: What it will be computed from, element by element. It begins half a page away from
            that, modulo a page: a kernel that reads and writes eight runs of elements at a time
            takes 1.4 times as long when they all meet in the same set of the cache.
    """
    size = prod(shape) * dtype.itemsize
    if not SMALLEST <= size <= LARGEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return _new(size, shape, dtype, source)


def empty_like(x: Tensor) -> Tensor:
    """Return `empty` for results of x, a contiguous CPU tensor, with its size and strides."""
    size = x.nbytes
    if not SMALLEST <= size <= LARGEST:
        return torch.empty_like(x)
    out = _new(size, x.shape, x.dtype, x)
    strides = x.stride()  # those of axes of length 1 may be anything
    return out if out.stride() == strides else out.set_(out.untyped_storage(), 0, x.shape, strides)


def release() -> None:
    """Give all memory that is kept for later back to the system."""
    global _idle_bytes
    with _lock:
        _idle.clear()
        _idle_bytes = 0


def _new(size: int, shape: Sequence[int], dtype: torch.dtype, source: Tensor | None) -> Tensor:
    block = _take(-(-size // _HUGE_PAGE) * _HUGE_PAGE)
    shift = 0 if source is None else (source.data_ptr() + _PAGE // 2) % _PAGE // _LINE * _LINE
    kind = _ARRAYS.get(dtype)
    if kind is not None:
        return torch.from_numpy(_lease(block, shift, shape, kind))
    out: Any = torch.empty(0, dtype=dtype, device="cpu")
    storage = torch.from_numpy(_lease(block, shift, (size,), np.uint8)).untyped_storage()
    return out.set_(storage, 0, tuple(shape))


def _lease(block: _Block, shift: int, shape: Sequence[int], kind: type[np.generic]) -> np.ndarray:
    memory, start = block
    lease = np.ndarray.__new__(_Lease, shape, kind, memory, start + shift)  # pyright: ignore[reportArgumentType]
    lease.block = block
    return lease


def _take(room: int) -> _Block:
    global _idle_bytes
    with _lock:
        blocks = _idle.get(room)
        if blocks:
            _idle_bytes -= room
            return blocks.pop()
    memory = np.empty(room + _SLACK, np.uint8)
    address = _address(memory)
    start = -address % _HUGE_PAGE
    if _madvise is not None:  # a refusal changes nothing
        _madvise(address + start, room, _MADV_HUGEPAGE)
    return memory, start


def _address(block: np.ndarray) -> int:
    return block.__array_interface__["data"][0]


def _find_madvise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


_madvise = _find_madvise()


def _give_back(block: _Block) -> None:
    global _idle_bytes
    room = block[0].size - _SLACK
    with _lock:
        if _idle_bytes + room <= IDLE_LIMIT:
            _idle.setdefault(room, []).append(block)
            _idle_bytes += room


def _forget() -> None:
    """Make a new lock in a forked child: another thread may have held it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
