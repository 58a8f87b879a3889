"""Philox-4x32 in plain torch: readable, slow, and the truth that the kernels are held to.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW32 = 0xFFFF_FFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def _multiply(a: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """Return the high and the low 32 bits of a * multiplier.

    In two halves, because the whole product needs 64 unsigned bits and torch has 63.
    """
    low = a * (multiplier & 0xFFFF)
    high = a * (multiplier >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def philox4x32(counter: Words, key: tuple[Tensor, Tensor], rounds: int) -> Words:
    """Return the four output words; words are int64 tensors with values in [0, 2**32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + WEYL[0]) & LOW32
        k1 = (k1 + WEYL[1]) & LOW32
    return c0, c1, c2, c3


def block_words(first: int, count: int, key: Tensor, *, rounds: int, domain: int = 0) -> Words:
    """Return the words of counters first ... first + count - 1.

    Args:
        first: First counter index.
        count: How many.
        key: int64 of shape (..., 2): stream key and call word.
        rounds: Rounds of Philox.
        domain: Or-ed into the last counter word.

    Returns:
        Four int64 tensors of shape (..., count).
    """
    index = torch.arange(first, first + count, dtype=torch.int64, device=key.device)
    stream, call = key[..., 0:1], key[..., 1:2]
    zero = torch.zeros_like(index)
    counter = (
        index & LOW32,
        index >> 32,
        (call & LOW32) + zero,
        ((call >> 32) & LOW32 | domain) + zero,
    )
    return philox4x32(counter, (stream & LOW32, (stream >> 32) & LOW32), rounds)
