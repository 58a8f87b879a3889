"""Named streams: randomness as an argument.

Every random choice of an experiment comes from the key of a named stream, a pure function of
(seed, purpose, index). Streams with different names are independent, so that adding dropout to a
model cannot change its initial weights or the order of its batches.
"""

from __future__ import annotations

import hashlib

from droplab.errors import ArgumentError, quote
from droplab.numeric import whole

SEED_LIMIT = 2**63
"""Seeds are in [0, 2**63), what fits a signed 64-bit integer."""


def check_seed(seed: int, *, where: str = "seed") -> int:
    """Return `seed` if it is an integer in [0, 2**63).

    Raises:
        ArgumentError: If it is not an integer, negative, or too large.

    Example:
        >>> check_seed(42)
        42
    """
    number = whole(seed)
    if number is None:
        raise ArgumentError(f"{where}: expected an integer in [0, 2**63), got {quote(seed)}")
    if not 0 <= number < SEED_LIMIT:
        raise ArgumentError(
            f"{where}: expected an integer in [0, 2**63), got {quote(seed)}; "
            f"use {number % SEED_LIMIT} for example"
        )
    return number


def stream_key(seed: int, purpose: str, index: int = 0) -> int:
    """Return the 63-bit key of the stream (seed, purpose, index).

    The key is the first eight bytes of BLAKE2b over the three, with the top bit cleared so that it
    fits a signed 64-bit tensor. It is stable across machines, processes and versions of Python.

    Args:
        seed: The experiment's seed, in [0, 2**63).
        purpose: What the numbers are for, e.g. "init", "order" or "mask/fc2".
        index: Epoch, step or another counter, at least 0.

    Returns:
        An integer in [0, 2**63).

    Raises:
        ArgumentError: If `seed` or `index` is out of range.

    Example:
        >>> stream_key(42, "order", 3) == stream_key(42, "order", 3)
        True
        >>> stream_key(42, "order", 3) == stream_key(42, "init", 3)
        False
    """
    seed, index = check_seed(seed), check_seed(index, where="index")
    text = f"{seed}\x1f{purpose}\x1f{index}".encode()
    digest = hashlib.blake2b(text, digest_size=8, person=b"droplab-rng").digest()
    return int.from_bytes(digest, "little") & (SEED_LIMIT - 1)
