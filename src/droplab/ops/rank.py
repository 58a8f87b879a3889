"""The rank that keys carry, so that data-parallel processes never share a mask."""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist

from droplab.errors import ArgumentError
from droplab.numeric import whole
from droplab.ops.layout import RANK_LIMIT

_explicit: int | None = None
_environment: int | None = None
"""RANK as it was at the first look; to look it up takes as long as a small mask."""

_world: Any = getattr(getattr(dist, "distributed_c10d", None), "_world", None)
_WORLD_SAYS = hasattr(_world, "_default_pg")
"""Whether torch keeps the default process group where it does now: `dist.is_initialized` looks
there, three calls further down, and a step asks for it every time."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forget())


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
    _forget()


def rank() -> int:
    """Return the rank that new keys carry in this process.

    Raises:
        ArgumentError: If the environment variable RANK is not an integer in [0, 65536).
    """
    if _explicit is not None:
        return _explicit
    if _world._default_pg is not None if _WORLD_SAYS else _is_distributed():
        return _check(dist.get_rank(), "torch.distributed")
    return _environment_rank() if _environment is None else _environment


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _environment_rank() -> int:
    global _environment
    text = os.environ.get("RANK")
    number = int(text) if text and text.isdecimal() else -1 if text else 0
    _environment = _check(number, f"environment variable RANK={text!r}")
    return _environment


def _forget() -> None:
    global _environment
    _environment = None


def _check(number: int, where: str) -> int:
    found = whole(number)
    if found is None or not 0 <= found < RANK_LIMIT:
        raise ArgumentError(
            f"{where}: expected a rank, an integer in [0, {RANK_LIMIT}), got {number!r}; "
            "call droplab.ops.set_rank with the rank of this process"
        )
    return found
