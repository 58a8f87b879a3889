"""The rank that keys carry, so that data-parallel processes never share a mask."""

from __future__ import annotations

import os
from functools import cache

import torch.distributed as dist

from droplab.errors import ArgumentError
from droplab.numeric import whole
from droplab.ops.layout import RANK_LIMIT

_explicit: int | None = None
_is_distributed = dist.is_initialized if dist.is_available() else bool

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _environment_rank.cache_clear())


def set_rank(rank: int | None) -> None:
    """Set the rank that new keys carry in this process.

    Without a call, the rank is that of the default process group of `torch.distributed` if there
    is one, else that of the environment variable RANK (set by torchrun; looked up once), else 0.

    Args:
        rank: The rank, in [0, 65536); None goes back to finding it out.

    Raises:
        ArgumentError: If `rank` is not an integer in [0, 65536).

    Example:
        >>> from droplab.ops import make_key
        >>> set_rank(1)
        >>> make_key(seed=7).tolist() == make_key(seed=7).tolist()
        True
        >>> other = make_key(seed=7)
        >>> set_rank(None)
        >>> make_key(seed=7).tolist() == other.tolist()
        False
    """
    global _explicit
    _explicit = None if rank is None else _check(rank, "set_rank")
    _environment_rank.cache_clear()


def rank() -> int:
    """Return the rank that new keys carry in this process.

    Raises:
        ArgumentError: If the environment variable RANK is not an integer in [0, 65536).
    """
    if _explicit is not None:
        return _explicit
    if _is_distributed():
        return _check(dist.get_rank(), "torch.distributed")
    return _environment_rank()


@cache
def _environment_rank() -> int:
    """Return RANK as it was at the first call; looking it up takes as long as a small mask."""
    text = os.environ.get("RANK")
    if not text:
        return 0
    number = int(text) if text.isdecimal() else -1
    return _check(number, f"environment variable RANK={text!r}")


def _check(number: int, where: str) -> int:
    found = whole(number)
    if found is None or not 0 <= found < RANK_LIMIT:
        raise ArgumentError(
            f"{where}: expected a rank, an integer in [0, {RANK_LIMIT}), got {number!r}; "
            "call droplab.ops.set_rank with the rank of this process"
        )
    return found
