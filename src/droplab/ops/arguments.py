"""Checks of what callers pass, and the messages that say what to pass instead."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from droplab.errors import ArgumentError, nearest
from droplab.numeric import real, whole
from droplab.probability import check_p

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

Mode = Literal["row", "batch"]
_MODES: tuple[str, ...] = get_args(Mode)  # once: the compiler of an older torch cannot
"""What `drop_path` decides for by one draw: each sample, or the whole batch."""


def check_input(x: Tensor, where: str) -> None:
    """Refuse what dropout has no meaning for: integers, complex numbers, sparse and ragged data."""
    if not isinstance(x, Tensor):
        raise ArgumentError(f"{where}: expected a tensor, got {type(x).__name__}")
    if x.is_nested or x.layout != torch.strided:
        layout = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
        raise ArgumentError(
            f"{where}: expected a dense tensor, got a {layout} one; call it on x.to_dense(), or on "
            "the values of x, whose order is then what the mask counts"
        )
    if x.dtype not in DTYPES:
        hint = "; use x.float()" if not x.is_complex() else "; mask x.real and x.imag by one key"
        if x.is_floating_point():
            hint = "; use x.bfloat16()"
        raise ArgumentError(
            f"{where}: expected float64, float32, bfloat16 or float16, got "
            f"{str(x.dtype).removeprefix('torch.')}{hint}"
        )


def check_float_dtype(dtype: torch.dtype, where: str) -> None:
    """Refuse a dtype that random numbers are not made in."""
    if dtype not in DTYPES:
        raise ArgumentError(
            f"{where}: dtype: expected float64, float32, bfloat16 or float16, got {dtype}"
        )


def check_key(key: Tensor, where: str) -> None:
    """Refuse what is no key."""
    if not isinstance(key, Tensor) or key.dtype != torch.int64:
        got = str(key.dtype) if isinstance(key, Tensor) else type(key).__name__
        raise ArgumentError(f"{where}: key: expected an int64 tensor from make_key, got {got}")
    if key.dim() not in (1, 2) or key.shape[-1] != 2:
        raise ArgumentError(
            f"{where}: key: expected shape (2,), or (K, 2) with one key per row of x, got "
            f"{tuple(key.shape)}; make keys by make_key"
        )


def check_rate(rate: Tensor, where: str) -> None:
    """Refuse a rate tensor of a wrong dtype or with more than one axis."""
    if not rate.is_floating_point():
        raise ArgumentError(f"{where}: p: expected a float tensor, got {rate.dtype}")
    if rate.dim() > 1:
        raise ArgumentError(
            f"{where}: p: expected a rate, or shape (K,) with one rate per row of x, got shape "
            f"{tuple(rate.shape)}"
        )


def check_rate_values(rate: Tensor, where: str) -> None:
    """Check every rate of a tensor that can be read without waiting for a device."""
    values: list[float] = rate.tolist() if rate.dim() else [rate.item()]
    for value in values:
        check_p(value, where=f"{where}: p")


def check_rows(rows: int, name: str, length: int, where: str) -> None:
    """Refuse one rate or key per row in a number that is not the number of rows."""
    if length not in (1, rows):
        raise ArgumentError(
            f"{where}: {name}: expected one for each of the {rows} rows (the first axis) of x, got "
            f"{length}; pass a single one to share it"
        )


def check_noise_shape(noise_shape: Sequence[int], shape: Sequence[int], where: str) -> None:
    """Refuse a noise shape that does not broadcast to `shape`."""
    fits = len(noise_shape) == len(shape) and all(
        a in (1, b) for a, b in zip(noise_shape, shape, strict=True)
    )
    if not fits:
        raise ArgumentError(
            f"{where}: noise_shape: expected {len(shape)} sizes, each 1 or that of x with shape "
            f"{tuple(shape)}, got {tuple(noise_shape)}; write 1 for an axis that shares its mask"
        )


def check_shape(shape: Sequence[int], where: str) -> tuple[int, ...]:
    """Return `shape` as a tuple of sizes."""
    if isinstance(shape, int):
        shape = (shape,)
    sizes = tuple(shape)
    if any(size < 0 for size in sizes):
        raise ArgumentError(f"{where}: shape: expected sizes of at least 0, got {sizes}")
    return sizes


def check_temperature(temperature: float, where: str) -> float:
    """Return `temperature` if it is a positive number."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ArgumentError(
            f"{where}: temperature: expected a positive number, got {temperature!r}; "
            "the paper uses 0.1"
        )
    return float(temperature)


def check_block_size(block_size: int, where: str) -> int:
    """Return `block_size` if it is a positive integer."""
    size = whole(block_size)
    if size is None or size < 1:
        raise ArgumentError(
            f"{where}: block_size must be an integer of at least 1, got {block_size!r}; "
            "the paper uses 7"
        )
    return size


def check_below_one(p: float | Tensor, where: str) -> None:
    """Refuse the rate at which Gaussian dropout has no finite variance."""
    if not isinstance(p, Tensor) and p == 1.0:
        raise ArgumentError(
            f"{where}: p: expected a rate in [0, 1), got 1, where the variance p / (1 - p) is "
            "infinite; use Dropout(1.0) for zeros"
        )


def check_std(std: float, where: str) -> float:
    """Return `std` as a float if it is a usable standard deviation."""
    number = real(std)
    if number is None:
        raise ArgumentError(f"{where}: std: expected a number of at least 0, got {std!r}; try 0.1")
    if not 0 <= number <= sys.float_info.max:
        raise ArgumentError(
            f"{where}: std: expected a number of at least 0, got {std!r}; the square root of the "
            "variance is meant"
        )
    return float(number)


def check_samples(samples: int, where: str) -> int:
    """Return `samples` if it is a positive integer."""
    count = whole(samples)
    if count is None or count < 1:
        raise ArgumentError(
            f"{where}: samples: expected an integer of at least 1, got {samples!r}; try 8"
        )
    return count


def check_mode(mode: str, where: str) -> None:
    """Refuse an unknown mode."""
    if mode not in _MODES:
        raise ArgumentError(
            f"{where}: mode: expected 'row' or 'batch', got {mode!r}{nearest(str(mode), _MODES)}"
        )
