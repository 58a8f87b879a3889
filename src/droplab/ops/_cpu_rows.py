"""The CPU backend: tensors in, kernels of `_cpu` on their memory, tensors out."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _cpu_pool
from droplab.ops._cpu import dropout_kernel, small_dropout_kernel, words_kernel
from droplab.ops._cpu_memory import empty, empty_like
from droplab.ops._cpu_pool import run_units
from droplab.ops.arguments import check_rate_values
from droplab.ops.layout import BLOCK, WORD_BLOCK

Kernel = Callable[..., int]

SMALL = 1 << 12
"""Elements up to which a kernel keeps the interpreter's lock: a few microseconds of work."""

_kernels: dict[torch.dtype, Kernel] = {}
_small_kernels: dict[torch.dtype, Kernel] = {}


def small_kernel_for(dtype: torch.dtype) -> Kernel:
    """Return the kernel for at most `SMALL` elements, compiling it on first use."""
    kernel = _small_kernels.get(dtype)
    if kernel is None:
        name = str(dtype).removeprefix("torch.")
        kernel = _small_kernels[dtype] = small_dropout_kernel(name)
    return kernel


def kernel_for(dtype: torch.dtype) -> Kernel:
    """Return the kernel for a dtype, compiling it on first use."""
    kernel = _kernels.get(dtype)
    if kernel is None:
        kernel = _kernels[dtype] = dropout_kernel(str(dtype).removeprefix("torch."))
    return kernel


def kernel_address(dtype: torch.dtype) -> int:
    """Return where the machine code of the kernel for a dtype begins."""
    address = ctypes.cast(kernel_for(dtype), ctypes.c_void_p).value  # pyright: ignore[reportArgumentType]
    assert address is not None
    return address


def dense_dropout(x: Tensor, key: Tensor, rate: Tensor, rows: int) -> Tensor:
    """Return the dropout of a contiguous tensor, in its shape.

    The short way for what is called most often; nothing is checked but the values of the rates.

    Args:
        x: Contiguous, with at least one element if `rows` > 1.
        key: (2,), (1, 2) or (rows, 2), contiguous, on the CPU.
        rate: (), (1,) or (rows,), float64, contiguous, on the CPU.
        rows: Rows that x consists of.
    """
    elements = x.numel()
    n = elements // rows
    units = rows * ((n + BLOCK - 1) // BLOCK)
    if elements <= SMALL:
        out = torch.empty_like(x)
        kernel = _small_kernels.get(x.dtype) or small_kernel_for(x.dtype)
    else:
        out = empty_like(x)
        kernel = _kernels.get(x.dtype) or kernel_for(x.dtype)
    key_step = 2 if key.numel() > 2 else 0
    rate_step = 1 if rate.numel() > 1 else 0
    pointers = (x.data_ptr(), n, out.data_ptr(), rows, n, key.data_ptr(), key_step)
    pointers += (rate.data_ptr(), rate_step)
    if elements < 2 * _cpu_pool.ELEMENTS_PER_THREAD:
        status = kernel(*pointers, 0, units)
    else:
        status = run_units(units, elements, lambda first, last: kernel(*pointers, first, last))
    if status:
        _refuse(rate)
    return out


def bind_dropout(
    x: Tensor, key: Tensor, rate: Tensor, rows: int
) -> Callable[[Tensor], Tensor] | None:
    """Return `dense_dropout` for tensors like `x`, if one thread is enough: see `dispatch`.

    Unlike there, keys and rates may lie apart from one another, or be one for all rows.
    """
    elements = x.numel()
    if elements >= 2 * _cpu_pool.ELEMENTS_PER_THREAD:
        return None
    out = empty_like(x)
    kernel = small_kernel_for(x.dtype) if elements <= SMALL else kernel_for(x.dtype)
    n = elements // rows
    steps = (
        key.stride(0) if key.numel() > 2 else 0,
        rate.stride(0) if rate.numel() > 1 else 0,
    )
    units = rows * ((n + BLOCK - 1) // BLOCK)
    pointers = (n, out.data_ptr(), rows, n, key.data_ptr(), steps[0], rate.data_ptr(), steps[1])
    pointers += (0, units)

    def bound(x: Tensor) -> Tensor:
        if kernel(x.data_ptr(), *pointers):
            _refuse(rate)
        return out

    bound.keeps = (key, rate)  # pyright: ignore[reportFunctionMemberAccess] # their memory
    return bound


def dropout_rows(x: Tensor, key: Tensor, rate: Tensor) -> Tensor:
    """Return x / (1 - rate) where kept and +0 where dropped, for x of shape (R, N)."""
    rows, n = x.shape
    step = n
    if rows > 1 and x.stride(0) == 0 and x[0].is_contiguous():
        step = 0  # all rows read the same memory
    else:
        x = x.contiguous()
    out = empty((rows, n), x.dtype, source=x)
    _rows(kernel_for(x.dtype), x, step, out, key, rate)
    return out


def keep_rows(rows: int, n: int, key: Tensor, rate: Tensor, device: torch.device) -> Tensor:
    """Return the keep mask, bool of shape (rows, n)."""
    out = empty((rows, n), torch.bool)
    _rows(kernel_for(torch.bool), out, n, out, key, rate)
    return out


def word_rows(rows: int, n: int, key: Tensor, device: torch.device) -> Tensor:
    """Return the 32-bit words as int32 of the same bits, shape (rows, n)."""
    out = empty((rows, n), torch.int32)
    key = key.cpu().contiguous()
    kernel = words_kernel()
    pointers = (out.data_ptr(), rows, n, key.data_ptr(), 0 if len(key) == 1 else 2)
    units = rows * ((n + WORD_BLOCK - 1) // WORD_BLOCK)
    run_units(units, rows * n, lambda first, last: kernel(*pointers, first, last))
    return out


def _rows(kernel: Kernel, x: Tensor, step: int, out: Tensor, key: Tensor, rate: Tensor) -> None:
    rows, n = out.shape
    key = key.cpu().contiguous()
    rate = rate.to(device="cpu", dtype=torch.float64).contiguous()
    key_step = 0 if len(key) == 1 else 2
    rate_step = 0 if len(rate) == 1 else 1
    pointers = (x.data_ptr(), step, out.data_ptr(), rows, n, key.data_ptr(), key_step)
    pointers += (rate.data_ptr(), rate_step)
    units = rows * ((n + BLOCK - 1) // BLOCK)
    if run_units(units, rows * n, lambda first, last: kernel(*pointers, first, last)):
        _refuse(rate)


def _refuse(rate: Tensor) -> None:
    check_rate_values(rate, "dropout")
    raise ArgumentError(f"dropout: p: expected rates in [0, 1], got {rate.tolist()}")
