"""The CPU kernels, compiled by numba and called through plain C pointers.

This is the only file that imports numba. A kernel is compiled on its first use, for the widest
vectors of this processor, and cached on disk (in the user's cache directory if the package's own
cannot be written). It takes no lock while it runs, so slices of a large tensor run on threads.

All that numba compiles is in this one file: its cache on disk looks at the file of a function
alone, so machine code that inlines from another file would go stale unnoticed.

numba widens integers to 64 bits wherever it may; the many casts keep lanes narrow, and with them
the loops fast.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import (
    carray,  # pyright: ignore[reportPrivateImportUsage]
    cfunc,
    njit,
    types,
)
from numba.extending import overload

from droplab.ops._philox import MULTIPLIERS, WEYL
from droplab.ops.layout import BLOCK, ROUNDS, RUN, WORD_BLOCK, WORD_DOMAIN
from droplab.probability import LEVELS

u8, u16, u32, u64, f32 = np.uint8, np.uint16, np.uint32, np.uint64, np.float32

_M0, _M1 = u64(MULTIPLIERS[0]), u64(MULTIPLIERS[1])
_W0, _W1 = u64(WEYL[0]), u64(WEYL[1])
_1, _13, _16, _32, _LOW = u32(1), u32(13), u32(16), u64(32), u64(0xFFFF_FFFF)
_DOMAIN = u64(WORD_DOMAIN)

BAD_RATE = 1
"""What a kernel returns when it meets a rate that is none; the output is then unfinished."""


@njit(forceinline=True)
def _philox(index, c2, c3, k0, k1):
    # In 64 bits throughout, the upper halves being rubbish that only the product must not see: this
    # way the compiler multiplies without moving halves about.
    c0, c1 = u64(index), u64(index) >> _32
    for _ in range(ROUNDS):
        p0, p1 = (c0 & _LOW) * _M0, (c2 & _LOW) * _M1
        c0, c1 = (p1 >> _32) ^ c1 ^ k0, p1
        c2, c3 = (p0 >> _32) ^ c3 ^ k1, p0
        k0, k1 = k0 + _W0, k1 + _W1
    return u32(c0), u32(c1), u32(c2), u32(c3)


# What becomes of one element: value times scale if kept, else zero. numba has no 16-bit floats, so
# they come as integers: uint16 is bfloat16, int16 is float16. uint8 is the mask itself.


def _float64(x, i, keep, scale):
    return x[i] * scale if keep else 0.0


def _float32(x, i, keep, scale):
    return f32(x[i] * f32(scale)) if keep else f32(0)


def _mask(x, i, keep, scale):
    return u8(1) if keep else u8(0)


def _bfloat16(x, i, keep, scale):
    product = f32(u32(u32(x[i]) << _16).view(f32) * f32(scale))
    bits = f32(product).view(u32)
    even = u32(u32(bits >> _16) & _1)
    nearest = u32(u32(u32(bits + u32(0x7FFF)) + even) >> _16)
    nearest = nearest if product == product else u32(0x7FC0)
    return u16(nearest if keep else u32(0))


def _float16(x, i, keep, scale):
    half = u32(u16(x[i]))
    sign = u32(u32(half & u32(0x8000)) << _16)
    half = u32(half & u32(0x7FFF))
    # Widen: move the exponent's bias from 15 to 127; tiny numbers by their value instead.
    bits = u32(u32(half << _13) + u32(112 << 23))
    bits = u32(bits + u32(112 << 23)) if half >= u32(0x7C00) else bits
    tiny = f32(f32(np.int32(half)) * f32(2.0**-24))
    bits = f32(tiny).view(u32) if half < u32(0x0400) else bits
    bits = f32(u32(bits).view(f32) * f32(scale)).view(u32)  # the scale is positive
    # Narrow, to the nearest and to even; tiny numbers by adding 1/2, whose last bit is 2^-24.
    odd = u32(u32(bits >> _13) & _1)
    normal = u32(u32(u32(bits - u32(112 << 23)) + u32(u32(0xFFF) + odd)) >> _13)
    small = u32(f32(u32(bits).view(f32) + f32(0.5)).view(u32) - u32(0x3F000000))
    result = small if bits < u32(113 << 23) else normal
    result = u32(0x7C00) if bits >= u32(143 << 23) else result
    result = u32(0x7E00) if bits > u32(0x7F800000) else result
    return np.int16(u16(u32(result | u32(sign >> _16)))) if keep else np.int16(0)


_BODIES = {
    types.float64: _float64,
    types.float32: _float32,
    types.uint16: _bfloat16,
    types.int16: _float16,
    types.uint8: _mask,
}


def _element(x, i, keep, scale):
    """Stand for the body that fits the type of x."""


@overload(_element, jit_options={"forceinline": True})
def _choose_element(x, i, keep, scale):
    return _BODIES[x.dtype]


# ---- blocks ---------------------------------------------------------------------------------
# A lane is compared in the upper half of a 32-bit word, which saves splitting the word.


@njit
def _whole_block(x, out, first, key, limit, scale):
    """Work on BLOCK elements at once: no mask is ever written down."""
    c2, c3, k0, k1 = key
    for j in range(RUN):
        a, b, c, d = _philox(first + j, c2, c3, k0, k1)
        out[j] = _element(x, j, u32(a << _16) >= limit, scale)
        out[j + RUN] = _element(x, j + RUN, a >= limit, scale)
        out[j + 2 * RUN] = _element(x, j + 2 * RUN, u32(b << _16) >= limit, scale)
        out[j + 3 * RUN] = _element(x, j + 3 * RUN, b >= limit, scale)
        out[j + 4 * RUN] = _element(x, j + 4 * RUN, u32(c << _16) >= limit, scale)
        out[j + 5 * RUN] = _element(x, j + 5 * RUN, c >= limit, scale)
        out[j + 6 * RUN] = _element(x, j + 6 * RUN, u32(d << _16) >= limit, scale)
        out[j + 7 * RUN] = _element(x, j + 7 * RUN, d >= limit, scale)


@njit
def _short_block(x, out, first, key, limit, scale):
    """Work on at most RUN elements, which all use the first lane."""
    c2, c3, k0, k1 = key
    for j in range(x.size):
        a, _, _, _ = _philox(first + j, c2, c3, k0, k1)
        out[j] = _element(x, j, u32(a << _16) >= limit, scale)


@njit
def _make_words(words, first, count, key):
    c2, c3, k0, k1 = key
    for j in range(count):
        a, b, c, d = _philox(first + j, c2, c3, k0, k1)
        words[j] = a
        words[j + RUN] = b
        words[j + 2 * RUN] = c
        words[j + 3 * RUN] = d


@njit
def _by_words(x, out, words, limit, scale):
    """Work on a block whose words are there: one that is cut off, or one that rows share."""
    for lane in range((x.size + RUN - 1) // RUN):
        start = lane * RUN
        xs, outs = x[start : start + RUN], out[start : start + RUN]
        ws = words[(lane >> 1) * RUN : (lane >> 1) * RUN + RUN]
        if lane & 1:
            for j in range(xs.size):
                outs[j] = _element(xs, j, ws[j] >= limit, scale)
        else:
            for j in range(xs.size):
                outs[j] = _element(xs, j, u32(ws[j] << _16) >= limit, scale)


@njit
def _constant(x, out, keep):
    for j in range(x.size):
        out[j] = _element(x, j, keep, 1.0)


@njit(forceinline=True)
def _key_words(stream, call):
    return u64(call) & _LOW, u64(call) >> _32, u64(stream) & _LOW, u64(stream) >> _32


@njit
def _run(x, x_step, out, rows, n, keys, key_step, rates, rate_step, first, last):
    """Work on units first ... last - 1, a unit being one block of one row.

    Rows come inside blocks, so that neighbours with the same key can share their words.
    """
    words = np.empty(4 * RUN, u32)
    have_block, have_stream, have_call = -1, 0, 0
    for unit in range(first, last):
        block, row = unit // rows, unit % rows
        rate = rates[row * rate_step]
        level = np.rint(rate * LEVELS)
        if not 0.0 <= rate <= 1.0 or (level == 0.0) != (rate == 0.0):
            return BAD_RATE
        if (level == LEVELS) != (rate == 1.0):
            return BAD_RATE
        start = block * BLOCK
        size = min(BLOCK, n - start)
        xs = x[row * x_step + start : row * x_step + start + size]
        outs = out[row * n + start : row * n + start + size]
        if level == 0.0 or level == LEVELS:
            _constant(xs, outs, level == 0.0)
            continue
        scale = LEVELS / (LEVELS - level)
        limit = u32(np.int64(level) << 16)
        stream, call = keys[row * key_step], keys[row * key_step + 1]
        key = _key_words(stream, call)
        index = block * RUN
        following = row + 1 < rows and unit + 1 < last
        shared = following and (
            keys[(row + 1) * key_step] == stream and keys[(row + 1) * key_step + 1] == call
        )
        if have_block == block and have_stream == stream and have_call == call:
            _by_words(xs, outs, words, limit, scale)
        elif size == BLOCK and not shared:
            _whole_block(xs, outs, index, key, limit, scale)
        elif size <= RUN and not shared:
            _short_block(xs, outs, index, key, limit, scale)
        else:
            _make_words(words, index, min(size, RUN), key)
            have_block, have_stream, have_call = block, stream, call
            _by_words(xs, outs, words, limit, scale)
    return 0


def _dropout_entry(x, x_step, out, rows, n, keys, key_step, rates, rate_step, first, last):
    size = (rows - 1) * x_step + n
    return _run(
        carray(x, size),
        x_step,
        carray(out, rows * n),
        rows,
        n,
        carray(keys, (rows - 1) * key_step + 2),
        key_step,
        carray(rates, (rows - 1) * rate_step + 1),
        rate_step,
        first,
        last,
    )


def _words_entry(out, rows, n, keys, key_step, first, last):
    values = carray(out, rows * n)
    key_pairs = carray(keys, (rows - 1) * key_step + 2)
    words = np.empty(4 * RUN, u32)
    for unit in range(first, last):
        block, row = unit // rows, unit % rows
        key = _key_words(key_pairs[row * key_step], key_pairs[row * key_step + 1])
        start = block * WORD_BLOCK
        size = min(WORD_BLOCK, n - start)
        outs = values[row * n + start : row * n + start + size]
        c2, c3, k0, k1 = key
        _make_words(words, block * RUN, min(size, RUN), (c2, c3 | _DOMAIN, k0, k1))
        for j in range(size):
            outs[j] = words[j]
    return 0


# ---- compiled entries -----------------------------------------------------------------------

_i64 = types.int64
_TYPES = {
    "float64": types.float64,
    "float32": types.float32,
    "bfloat16": types.uint16,
    "float16": types.int16,
    "bool": types.uint8,
}
_alive: list[Any] = []


def _compile(signature: Any, entry: Callable[..., int]) -> int:
    """Return the address of the machine code."""
    try:
        compiled = cfunc(signature, cache=True)(entry)
    except RuntimeError:  # no directory can be written to
        compiled = cfunc(signature)(entry)
    _alive.append(compiled)  # it owns the machine code
    address: Any = compiled.address
    return address


@cache
def _dropout_address(dtype: str) -> int:
    kind = _TYPES[dtype]
    i64s, f64s = types.CPointer(_i64), types.CPointer(types.float64)
    data = types.CPointer(kind)
    signature = _i64(data, _i64, data, _i64, _i64, i64s, _i64, f64s, _i64, _i64, _i64)
    return _compile(signature, _dropout_entry)


@cache
def dropout_kernel(dtype: str) -> Callable[..., int]:
    """Return the kernel for a dtype's name; that for "bool" writes the mask.

    It takes x, x_step, out, rows, n, keys, key_step, rates, rate_step, first, last: pointers, and
    numbers of elements, rows and units; returns 0 or BAD_RATE.
    """
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 11)(_dropout_address(dtype))


@cache
def small_dropout_kernel(dtype: str) -> Callable[..., int]:
    """Return the same kernel, called without giving up the interpreter's lock.

    Giving it up and taking it back costs more than the masks of a small tensor.
    """
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 11)(_dropout_address(dtype))


@cache
def words_kernel() -> Callable[..., int]:
    """Return the kernel that fills uint32: out, rows, n, keys, key_step, first, last."""
    signature = _i64(
        types.CPointer(types.uint32), _i64, _i64, types.CPointer(_i64), _i64, _i64, _i64
    )
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 7)(
        _compile(signature, _words_entry)
    )
