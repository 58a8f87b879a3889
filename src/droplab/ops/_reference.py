"""The reference backend: plain torch on any device, slow and easy to read.

Everything here takes rows: `x` is (R, N) or anything that views so, `key` is (1 or R, 2), `rate` is
(1 or R,) in float64. The kernels must give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.ops._philox import block_words
from droplab.ops.layout import BLOCK, LANES, ROUNDS, RUN, WORD_BLOCK, WORD_DOMAIN, WORDS
from droplab.probability import LEVELS

_BLOCKS_AT_ONCE = 64
"""Blocks that are worked on together, so that a large tensor needs little extra memory."""


def level_and_scale(rate: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the thresholds (int64) and the scales 1 / (1 - rounded rate), 0 where all drops.

    A rate that is none, which only reaches this on a device that is not waited for, gets the level
    0 and the scale NaN: the result is NaN everywhere, for all to see.
    """
    level = torch.round(rate * LEVELS)
    usable = (rate >= 0) & (rate <= 1)
    usable = usable & ((level == 0) == (rate == 0)) & ((level == LEVELS) == (rate == 1))
    scale = torch.where(level == LEVELS, 0.0, LEVELS / (LEVELS - level).clamp(min=1))
    scale = torch.where(usable, scale, torch.nan)
    if device.type == "mps":  # which has no float64
        scale = scale.float()
    return torch.where(usable, level, 0.0).to(torch.int64).to(device), scale.to(device)


def blocks_of_lanes(first: int, blocks: int, key: Tensor) -> Tensor:
    """Return the lanes of some whole blocks, from that with the first counter `first`."""
    words = block_words(first, blocks * RUN, key, rounds=ROUNDS)
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
    piece = torch.stack(halves, dim=-2)  # (R, 8, blocks * RUN)
    piece = piece.unflatten(-1, (blocks, RUN)).transpose(-3, -2)  # (R, blocks, 8, RUN)
    return piece.flatten(-3)


def blocks_of_words(first: int, blocks: int, key: Tensor) -> Tensor:
    """Return the 32-bit words of some whole blocks, from that with the first counter `first`."""
    four = block_words(first, blocks * RUN, key, rounds=ROUNDS, domain=WORD_DOMAIN)
    piece = torch.stack(four, dim=-2).unflatten(-1, (blocks, RUN)).transpose(-3, -2)
    return piece.flatten(-3)


def lanes(n: int, key: Tensor) -> Tensor:
    """Return the 16-bit lanes of elements 0 ... n - 1, int64 of shape (key rows, n)."""
    pieces: list[Tensor] = []
    per_piece = BLOCK * _BLOCKS_AT_ONCE
    for start in range(0, n, per_piece):
        blocks = min(_BLOCKS_AT_ONCE, -(-(n - start) // BLOCK))
        pieces.append(blocks_of_lanes(start // LANES, blocks, key)[..., : n - start])
    if not pieces:
        return torch.empty((*key.shape[:-1], 0), dtype=torch.int64, device=key.device)
    return torch.cat(pieces, dim=-1)


def words(n: int, key: Tensor) -> Tensor:
    """Return the 32-bit words of elements 0 ... n - 1, int64 of shape (key rows, n)."""
    pieces: list[Tensor] = []
    per_piece = WORD_BLOCK * _BLOCKS_AT_ONCE
    for start in range(0, n, per_piece):
        blocks = min(_BLOCKS_AT_ONCE, -(-(n - start) // WORD_BLOCK))
        pieces.append(blocks_of_words(start // WORDS, blocks, key)[..., : n - start])
    if not pieces:
        return torch.empty((*key.shape[:-1], 0), dtype=torch.int64, device=key.device)
    return torch.cat(pieces, dim=-1)


def keep_rows(rows: int, n: int, key: Tensor, rate: Tensor, device: torch.device) -> Tensor:
    """Return the keep mask, bool of shape (rows, n)."""
    level, _ = level_and_scale(rate, device)
    return (lanes(n, key.to(device)) >= level[:, None]).expand(rows, n).contiguous()


def word_rows(rows: int, n: int, key: Tensor, device: torch.device) -> Tensor:
    """Return the 32-bit words as int32 of the same bits, shape (rows, n)."""
    word = words(n, key.to(device))
    return (word - ((word >> 31) << 32)).to(torch.int32).expand(rows, n).contiguous()


def dropout_rows(x: Tensor, key: Tensor, rate: Tensor) -> Tensor:
    """Return x / (1 - rate) where kept and +0 where dropped, for x of shape (R, N)."""
    _, scale = level_and_scale(rate, x.device)
    keep = keep_rows(x.shape[0], x.shape[1], key, rate, x.device)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    return torch.where(keep, scaled(x, scale[:, None]), zero)


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Return x * scale, the product formed in float32 for narrower types and rounded once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.to(wide) * scale.to(wide)).to(x.dtype)
