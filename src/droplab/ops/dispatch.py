"""Running dropout, masks and words on rows, below autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _backends
from droplab.ops import arguments as check
from droplab.ops._backends import Backend, backend_for
from droplab.ops._reference import level_and_scale, scaled
from droplab.probability import scale

_CPU_OR_ANY = (None, "cpu")
_dense: dict[torch.dtype, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {}
_rates: dict[float, Tensor] = {}


def _load_dense(dtype: torch.dtype) -> Callable[[Tensor, Tensor, Tensor, int], Tensor] | None:
    """Return the short way to the CPU kernel, None if there is none for this dtype."""
    backend = _backends.load("cpu") if dtype in check.DTYPES else None
    if backend is None or isinstance(backend, ImportError):
        return None
    return _dense.setdefault(dtype, backend.dense_dropout)  # pyright: ignore[reportAttributeAccessIssue]


def _usable_rows(x: Tensor, key: Tensor, rate: Tensor | None) -> int:
    """Return the number of rows; 0 if they need a closer look."""
    if x.numel() == 0 or x.dim() == 0:
        return 0
    rows = x.shape[0]
    fits = (key.numel() in (2, 2 * rows)) and (rate is None or rate.numel() in (1, rows))
    return rows if fits and (rate is None or rate.dim() < 2) else 0


def _exact(rate: Tensor | None, p: float) -> Tensor:
    """Return the rate in float64 and contiguous."""
    if rate is None:
        return _rate_of(p)
    if rate.dtype is torch.float64:
        return rate.contiguous()
    check.check_rate(rate, "dropout")
    return _rate_of(rate.item()) if rate.dim() == 0 else rate.detach().double().contiguous()


def _rate_of(p: float) -> Tensor:
    """Return a rate as a tensor; from a cache, since a call is to take microseconds."""
    rate = _rates.get(p) if type(p) is float else None
    if rate is None:
        value = check.check_p(p, where="dropout: p")
        rate = torch.tensor(value, dtype=torch.float64, device="cpu")
        if len(_rates) >= 4096:
            _rates.clear()
        _rates[value] = rate
    return rate


def rows_of_key(key: Tensor, rows: int, where: str) -> Tensor:
    """Return the key as (1 or rows, 2)."""
    check.check_key(key, where)
    if key.dim() == 1:
        return key[None]
    check.check_rows(rows, "key", key.shape[0], where)
    return key


def rows_of_rate(
    rate: Tensor | None, p: float, rows: int, device: torch.device, where: str
) -> Tensor:
    """Return the rates as (1 or rows,) in float64."""
    if rate is None:
        return torch.full(
            (1,), check.check_p(p, where=f"{where}: p"), dtype=torch.float64, device="cpu"
        )
    check.check_rate(rate, where)
    if rate.dim() == 1:
        check.check_rows(rows, "p", rate.shape[0], where)
    if rate.device.type == "cpu":
        check.check_rate_values(rate, where)
    wide = torch.float32 if rate.device.type == "mps" else torch.float64
    return rate.detach().reshape(-1).to(wide)


def run_dropout(
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: Sequence[int] | None,
    backend: str | None,
    batched: bool,
) -> Tensor:
    """Return x with elements dropped; the whole of `dropout` below autograd.

    Args:
        x: The input; with `batched`, its first axis holds the rows.
        key: (2,) or, with `batched`, (rows, 2).
        rate: (), or with `batched` (rows,); None to use `p`.
        p: The rate where `rate` is None.
        noise_shape: Shape of the mask, of one row if `batched`.
        backend: Name or None.
        batched: Whether the element index starts again in each row.
    """
    if noise_shape is None and backend in _CPU_OR_ANY and _is_dense(x, rate) and key.is_cpu:
        dense = _dense.get(x.dtype) or _load_dense(x.dtype)
        rows = 1 if not batched else _usable_rows(x, key, rate)
        if dense is not None and rows:
            return dense(x, key.contiguous(), _exact(rate, p), rows)
    check.check_input(x, "dropout")
    x = x.resolve_neg()
    rows = _count_rows(x) if batched else 1
    keys = rows_of_key(key, rows, "dropout")
    rates = rows_of_rate(rate, p, rows, x.device, "dropout")
    if noise_shape is not None:
        check.check_noise_shape(noise_shape, x.shape[1:] if batched else x.shape, "dropout")
    if x.device.type == "meta":
        return torch.empty_like(x)
    engine = backend_for(x.device, backend, "dropout")
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    if noise_shape is not None:
        return _shared_mask(x, out, keys, rates, noise_shape, engine, batched)
    flat = x.reshape(rows, -1)
    result = engine.dropout_rows(flat, keys, rates).view(x.shape)
    return result if result.stride() == out.stride() else out.copy_(result)


def _is_dense(x: Tensor, rate: Tensor | None) -> bool:
    """Return whether the CPU kernel can work on the memory as it is."""
    return (
        x.is_cpu
        and x.layout is torch.strided
        and x.is_contiguous()
        and not (x.is_neg() or x.is_nested)
        and (rate is None or rate.is_cpu)
    )


def bind_dropout(
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    p: float,
    noise_shape: Sequence[int] | None,
    backend: str | None,
    batched: bool,
) -> Callable[[Tensor], Tensor] | None:
    """Return `run_dropout` with all arguments but x looked up now, None where that is no gain.

    For tensors on the CPU that one thread works on, whose masks may take less time than a look at
    the arguments. Key and rate are read in their memory at every call, and may be changed in place.
    Every call gives the same tensor back, which must be used up before the next call.

    Args:
        x: Like the tensors to come, which must be contiguous.
        key: As in `run_dropout`.
        rate: As in `run_dropout`; float64.
        p: As in `run_dropout`.
        noise_shape: As in `run_dropout`.
        backend: As in `run_dropout`.
        batched: As in `run_dropout`.
    """
    if noise_shape is not None or backend not in _CPU_OR_ANY or not _is_dense(x, rate):
        return None
    rows = 1 if not batched else _usable_rows(x, key, rate)
    wide = _rate_of(p) if rate is None else rate
    if not rows or wide.dtype is not torch.float64 or not key.is_cpu or key.stride(-1) != 1:
        return None
    if _load_dense(x.dtype) is None:
        return None
    rows_module: Any = _backends.load("cpu")
    return rows_module.bind_dropout(x, key, wide, rows)


def mask_kernel_address() -> int | None:
    """Return the address of the CPU kernel for float32, None if there is no CPU backend.

    It takes what `_cpu.dropout_kernel` says, as C types of 64 bits, and locks nothing.
    """
    if _load_dense(torch.float32) is None:
        return None
    rows_module: Any = _backends.load("cpu")
    return rows_module.kernel_address(torch.float32)


def _count_rows(x: Tensor) -> int:
    if x.dim() == 0:
        raise ArgumentError(
            "dropout: expected x to have rows, for one rate or key each, got a scalar; pass one "
            "rate of shape () and one key of shape (2,)"
        )
    return x.shape[0]


def _shared_mask(
    x: Tensor,
    out: Tensor,
    keys: Tensor,
    rates: Tensor,
    noise_shape: Sequence[int],
    engine: Backend,
    batched: bool,
) -> Tensor:
    rows = x.shape[0] if batched else 1
    keep = engine.keep_rows(rows, prod(noise_shape), keys, rates, x.device)
    keep = keep.view((rows, *noise_shape) if batched else tuple(noise_shape))
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    if rates.is_cpu and len(rates) == 1:
        return torch.where(keep, x, zero, out=out).mul_(scale(rates.item()))
    _, scales = level_and_scale(rates, x.device)
    scales = scales.view(-1, *[1] * (x.dim() - 1)) if batched else scales.view(())
    return torch.where(keep, scaled(x, scales), zero, out=out)


def run_keep_mask(
    shape: Sequence[int],
    key: Tensor,
    rate: Tensor | None,
    p: float,
    rows: int,
    device: torch.device,
    backend: str | None,
) -> Tensor:
    """Return the keep mask of `shape`, or with `rows` > 0 one for each row, (rows, *shape)."""
    count = max(rows, 1) if rows >= 0 else 1
    keys = rows_of_key(key, count, "keep_mask")
    rates = rows_of_rate(rate, p, count, device, "keep_mask")
    full = (rows, *shape) if rows else tuple(shape)
    if device.type == "meta":
        return torch.empty(full, dtype=torch.bool, device=device)
    engine = backend_for(device, backend, "keep_mask")
    return engine.keep_rows(count, prod(shape), keys, rates, device).view(full)


def run_words(
    shape: Sequence[int], key: Tensor, rows: int, device: torch.device, backend: str | None
) -> Tensor:
    """Return random 32-bit words as int32, in `shape` or (rows, *shape)."""
    keys = rows_of_key(key, max(rows, 1), "uniform")
    full = (rows, *shape) if rows else tuple(shape)
    if device.type == "meta":
        return torch.empty(full, dtype=torch.int32, device=device)
    engine = backend_for(device, backend, "uniform")
    return engine.word_rows(max(rows, 1), prod(shape), keys, device).view(full)
