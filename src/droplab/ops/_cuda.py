"""The CUDA kernels, in triton: the same bits as the reference.

This is the only file that imports triton. One program works on PIECE counters of one block of one
row. A counter decides about eight elements that lie RUN apart, so that neighbouring threads touch
neighbouring elements in every lane.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]  # an optional dependency
import triton.language as tl  # pyright: ignore[reportMissingImports]

from droplab.ops import layout
from droplab.ops._philox import MULTIPLIERS, WEYL

PIECE = 512
"""Counters that one program works on."""

_RUN = tl.constexpr(layout.RUN)
_LANES = tl.constexpr(layout.LANES)
_WORDS = tl.constexpr(layout.WORDS)
_ROUNDS = tl.constexpr(layout.ROUNDS)
_DOMAIN = tl.constexpr(layout.WORD_DOMAIN)
_M0, _M1 = tl.constexpr(MULTIPLIERS[0]), tl.constexpr(MULTIPLIERS[1])
_W0, _W1 = tl.constexpr(WEYL[0]), tl.constexpr(WEYL[1])


@triton.jit
def _philox(index, stream, call, domain):
    c0 = index.to(tl.uint32)
    c1 = (index >> 32).to(tl.uint32)
    zero = tl.zeros_like(c0)
    c2 = call.to(tl.uint32) + zero
    c3 = ((call >> 32).to(tl.uint32) | domain) + zero
    k0 = stream.to(tl.uint32) + zero
    k1 = (stream >> 32).to(tl.uint32) + zero
    m0 = tl.full(c0.shape, _M0, tl.uint32)
    m1 = tl.full(c0.shape, _M1, tl.uint32)
    w0 = tl.full(c0.shape, _W0, tl.uint32)
    w1 = tl.full(c0.shape, _W1, tl.uint32)
    for _ in tl.static_range(_ROUNDS):
        high0 = tl.umulhi(c0, m0)
        high1 = tl.umulhi(c2, m1)
        low0 = c0 * m0
        low1 = c2 * m1
        c0 = high1 ^ c1 ^ k0
        c1 = low1
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 += w0
        k1 += w1
    return c0, c1, c2, c3


@triton.jit
def _drop(x, out, at, word, level, scale, n, drops: tl.constexpr):
    """Write the elements of the two lanes of a word: the lower half at `at`, then one RUN on."""
    for half in tl.static_range(2):
        place = at + half * _RUN
        inside = place < n
        keep = ((word >> (16 * half)) & 0xFFFF).to(tl.int32) >= level
        if drops:
            value = tl.load(x + place, mask=inside)
            product = value.to(scale.dtype) * scale
            zero = tl.zeros_like(product)
            # A level of -1 marks a rate that is none: the result is NaN, for all to see.
            tl.store(out + place, tl.where(keep, product, zero).to(value.dtype), mask=inside)
        else:
            tl.store(out + place, keep, mask=inside)


@triton.jit
def mask_kernel(
    x, out, plan, x_step, n, pieces, plan_step, drops: tl.constexpr, wide: tl.constexpr,
    piece: tl.constexpr,
):  # fmt: skip
    """Drop, or write the keep mask.

    Args:
        x: Input, (rows, n) with a row step; not read if not `drops`.
        out: Output, (rows, n) contiguous.
        plan: int64 rows of (stream key, call word, level).
        x_step: Elements from row to row of x.
        n: Elements of a row.
        pieces: Programs a row.
        plan_step: 3, or 0 if all rows share one plan.
        drops: Whether to drop rather than to write the mask.
        wide: Whether the product is formed in float64 rather than float32.
        piece: Counters a program.
    """
    program = tl.program_id(0).to(tl.int64)
    row = program // pieces
    part = program % pieces
    block = part // (_RUN // piece)
    j = (part % (_RUN // piece)) * piece + tl.arange(0, piece)
    plan += row * plan_step
    stream, call, level = tl.load(plan), tl.load(plan + 1), tl.load(plan + 2)
    scale = tl.where(level < 65536, 65536.0 / tl.maximum(65536 - level, 1).to(tl.float64), 0.0)
    scale = tl.where(level < 0, float("nan"), scale)
    if not wide:
        scale = scale.to(tl.float32)
    level = level.to(tl.int32)
    a, b, c, d = _philox(block * _RUN + j, stream, call, 0)
    x += row * x_step
    out += row * n
    at = block * (_RUN * _LANES) + j
    _drop(x, out, at, a, level, scale, n, drops)
    _drop(x, out, at + 2 * _RUN, b, level, scale, n, drops)
    _drop(x, out, at + 4 * _RUN, c, level, scale, n, drops)
    _drop(x, out, at + 6 * _RUN, d, level, scale, n, drops)


@triton.jit
def words_kernel(out, plan, n, pieces, plan_step, piece: tl.constexpr):
    """Write random 32-bit words; arguments as in `mask_kernel`."""
    program = tl.program_id(0).to(tl.int64)
    row = program // pieces
    part = program % pieces
    block = part // (_RUN // piece)
    j = (part % (_RUN // piece)) * piece + tl.arange(0, piece)
    plan += row * plan_step
    a, b, c, d = _philox(block * _RUN + j, tl.load(plan), tl.load(plan + 1), _DOMAIN)
    out += row * n
    at = block * (_RUN * _WORDS) + j
    tl.store(out + at, a.to(tl.int32, bitcast=True), mask=at < n)
    tl.store(out + at + _RUN, b.to(tl.int32, bitcast=True), mask=at + _RUN < n)
    tl.store(out + at + 2 * _RUN, c.to(tl.int32, bitcast=True), mask=at + 2 * _RUN < n)
    tl.store(out + at + 3 * _RUN, d.to(tl.int32, bitcast=True), mask=at + 3 * _RUN < n)
