"""Which bits of the generator decide about which element.

This is the one place that knows the layout; `docs/masks.md` says the same in words. All functions
take plain integers or tensors, so that every backend and the tests can share them.
"""

from __future__ import annotations

ROUNDS = 7
"""Rounds of Philox-4x32; Salmon et al. (2011) find seven to pass every test of TestU01."""

RUN = 2048
"""Elements in a row that take the same lane, one counter each."""

LANES = 8
"""16-bit lanes of one Philox call, used by masks."""

BLOCK = RUN * LANES
"""Mask elements in a block."""

WORDS = 4
"""32-bit words of one Philox call, used by `uniform` and `normal`."""

WORD_BLOCK = RUN * WORDS
"""Elements of `uniform` and `normal` in a block."""

CALL_BITS = 47
"""The low bits of the second key word, the call index."""

CALL_LIMIT = 1 << CALL_BITS

RANK_LIMIT = 1 << 16
"""Ranks sit in the 16 bits above the call index; the sign bit stays clear."""

WORD_DOMAIN = 0x8000_0000
"""Top bit of the last counter word: set for words, clear for masks, so the two never meet."""


def mask_position(element: int) -> tuple[int, int]:
    """Return (counter index, lane) of a mask element.

    Example:
        >>> mask_position(0), mask_position(2048), mask_position(16385)
        ((0, 0), (0, 1), (2049, 0))
    """
    block, inside = divmod(element, BLOCK)
    lane, j = divmod(inside, RUN)
    return block * RUN + j, lane


def word_position(element: int) -> tuple[int, int]:
    """Return (counter index, word) of an element of `uniform` or `normal`.

    Example:
        >>> word_position(0), word_position(2048), word_position(8193)
        ((0, 0), (0, 1), (2049, 0))
    """
    block, inside = divmod(element, WORD_BLOCK)
    word, j = divmod(inside, RUN)
    return block * RUN + j, word


def counter_words(index: int, call: int, *, domain: int = 0) -> tuple[int, int, int, int]:
    """Return the four counter words for a counter index and the second word of a key.

    Example:
        >>> counter_words(5, 3 + (1 << 47))
        (5, 0, 3, 32768)
    """
    low = 0xFFFF_FFFF
    return index & low, index >> 32, call & low, (call >> 32) | domain
