"""Masks and random numbers by key, without an input to apply them to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from droplab.ops import arguments as check
from droplab.ops._library import keep_mask_op, words_op
from droplab.ops.dispatch import run_keep_mask, run_words
from droplab.ops.transforms import PLAIN_TYPES, is_plain

_MANTISSA = {torch.float64: 32, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
_PLAIN_RATES = {*PLAIN_TYPES, float, int}


def keep_mask(
    shape: Sequence[int],
    p: float | Tensor,
    *,
    key: Tensor,
    noise_shape: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    backend: str | None = None,
) -> Tensor:
    """Return the mask that `dropout` uses for a tensor of this shape: true where kept.

    Args:
        shape: Shape of the tensor to be masked.
        p: Probability of dropping, as in `dropout`: a float, or a tensor of shape () or (K,).
        key: From `make_key`, shape (2,) or (K, 2).
        noise_shape: Shape of the mask, to be broadcast to `shape`, as in `dropout`.
        device: Where the mask is put; the bits are the same everywhere.
        backend: As in `dropout`.

    Shape:
        `noise_shape` if there is one (the mask shrinks), else `shape`. If p is (K,) or key is
        (K, 2), then K comes first: (K, *shape).

    Returns:
        A bool tensor.

    Raises:
        ArgumentError: As in `dropout`.
        BackendError: As in `dropout`.

    Randomness:
        None besides the key.

    Example:
        >>> from droplab.ops import make_key
        >>> keep_mask((2, 3), 0.0, key=make_key(seed=1)).all().item()
        True
    """
    sizes = check.check_shape(shape, "keep_mask")
    if noise_shape is not None:
        noise_shape = tuple(noise_shape)
        check.check_noise_shape(noise_shape, sizes, "keep_mask")
        sizes = noise_shape
    rate, value = (p.detach(), 0.0) if isinstance(p, Tensor) else (None, p)
    if rate is None:
        value = check.check_p(value, where="keep_mask: p")
    else:
        check.check_rate(rate, "keep_mask")
    check.check_key(key, "keep_mask")
    rows = key.shape[0] if key.dim() == 2 else 0
    if rate is not None and rate.dim() == 1:
        rows = max(rows, rate.shape[0])
    # Without the dispatcher, as in `dropout`, where there is nothing for it to do.
    plain = is_plain() and type(key) in PLAIN_TYPES and type(p) in _PLAIN_RATES
    make = run_keep_mask if plain else keep_mask_op
    return make(sizes, key, rate, value, rows, torch.device(device), backend)


def uniform(
    shape: Sequence[int],
    *,
    key: Tensor,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    backend: str | None = None,
) -> Tensor:
    """Return numbers uniform on the open interval (0, 1).

    u = (m + 1/2) / 2^b, with m the upper b bits of a random word: 32 in float64, 23 in float32, 10
    in float16, 7 in bfloat16. Every value is exact in its dtype, and never 0 or 1.

    Args:
        shape: Shape of the result.
        key: From `make_key`, shape (2,) or (K, 2).
        dtype: float64, float32, bfloat16 or float16.
        device: Where the result is put; the bits are the same everywhere.
        backend: As in `dropout`.

    Shape:
        `shape`, or (K, *shape) if key is (K, 2).

    Returns:
        A tensor of `dtype`.

    Raises:
        ArgumentError: If the key is none, or the dtype is another.
        BackendError: As in `dropout`.

    Randomness:
        None besides the key. Words never meet the bits that masks use, even under the same key.

    Example:
        >>> from droplab.ops import make_key
        >>> u = uniform((1000,), key=make_key(seed=1))
        >>> bool((u > 0).all() and (u < 1).all())
        True
    """
    check.check_float_dtype(dtype, "uniform")
    word = _words(shape, key, device, backend, "uniform")
    bits = _MANTISSA[dtype]
    upper = (word.to(torch.int64) & 0xFFFF_FFFF) if bits == 32 else word >> (32 - bits)
    if bits != 32:
        upper = upper & ((1 << bits) - 1)
    return (upper.to(dtype) + 0.5) * 2.0**-bits


def normal(
    shape: Sequence[int],
    *,
    key: Tensor,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    backend: str | None = None,
) -> Tensor:
    """Return numbers from the standard normal distribution.

    z = sqrt(2) erfinv(2u - 1), with u = (w + 1/2) / 2^32 for a random 32-bit word w: one word a
    number, and the same word that `uniform` uses. Magnitudes end at 6.4.

    Args:
        shape: Shape of the result.
        key: From `make_key`, shape (2,) or (K, 2).
        dtype: float64, float32, bfloat16 or float16.
        device: Where the result is put.
        backend: As in `dropout`.

    Shape:
        `shape`, or (K, *shape) if key is (K, 2).

    Returns:
        A tensor of `dtype`. It is computed in float64 and rounded; the words are the same on every
        device, the last bit of the result is up to the device's erfinv.

    Raises:
        ArgumentError: If the key is none, or the dtype is another.
        BackendError: As in `dropout`.

    Randomness:
        None besides the key.

    Example:
        >>> from droplab.ops import make_key
        >>> z = normal((10000,), key=make_key(seed=1))
        >>> abs(z.mean().item()) < 0.05, abs(z.std().item() - 1) < 0.05
        (True, True)
    """
    check.check_float_dtype(dtype, "normal")
    word = _words(shape, key, device, backend, "normal")
    centred = word ^ -(2**31)  # w - 2^31 as a signed number
    if word.device.type == "mps":  # which has no float64
        t = ((centred >> 9).to(torch.float32) + 0.5) * 2.0**-22
    else:
        t = (centred.to(torch.float64) + 0.5) * 2.0**-31
    return (torch.erfinv(t) * 2.0**0.5).to(dtype)


def _words(
    shape: Sequence[int], key: Tensor, device: torch.device | str, backend: str | None, where: str
) -> Tensor:
    sizes = check.check_shape(shape, where)
    check.check_key(key, where)
    rows = key.shape[0] if key.dim() == 2 else 0
    make = run_words if is_plain() and type(key) in PLAIN_TYPES else words_op
    return make(sizes, key, rows, torch.device(device), backend)
