"""Denormal numbers, taken as zero by every thread that computes for torch."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

_LOG = logging.getLogger("droplab.train")
_RUNTIMES = ("libgomp", "libiomp5", "libomp")
"""What the libraries are called that run torch's threads; all of them know `GOMP_parallel`."""

_GRAIN = 1 << 15
"""Elements that torch gives a thread at least."""


@contextlib.contextmanager
def flushed_denormals(threads: int) -> Iterator[None]:
    """Take numbers below 1e-38 as zero in this thread and in those that torch computes with.

    Moments of weights whose gradient is zero decay into that range, dropout makes many such, and
    processors take a hundred times as long for each. `torch.set_flush_denormal` speaks of the
    calling thread alone, so that with two threads half of a tensor would stay slow, and other than
    the rest.

    Args:
        threads: How many threads torch is set to.
    """
    before = flushes_denormals()
    _set(True, threads)
    if _LOG.isEnabledFor(logging.DEBUG) and not flushes_denormals(threads):
        _LOG.debug("denormal numbers are not taken as zero in all of %d threads", threads)
    try:
        yield
    finally:
        _set(before, threads)


def flushes_denormals(threads: int = 1) -> bool:
    """Return whether arithmetic in so many threads of torch takes denormal numbers as zero."""
    numbers = torch.full((_GRAIN * threads if threads > 1 else 1,), 1e-310, dtype=torch.float64)
    return not (numbers * 2.0).any()


def _set(flush: bool, threads: int) -> None:
    torch.set_flush_denormal(flush)
    if threads > 1:
        parallel, callback = _runtime(), _Callback(lambda _: torch.set_flush_denormal(flush))
        if parallel is not None:
            parallel(callback, None, threads, 0)


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _runtime() -> Any:
    """Return what calls a function in each thread of torch's; None where that is not known."""
    try:
        loaded = [Path(each.path) for each in psutil.Process().memory_maps()]
    except (psutil.Error, AttributeError, OSError):  # there are none on macOS
        loaded = []
    own = Path(torch.__file__).parent
    found = [path for path in loaded if path.name.startswith(_RUNTIMES)]
    found += [path for path in (own / "lib").glob("*omp*") if path.name.startswith(_RUNTIMES)]
    for path in sorted(found, key=lambda path: not path.is_relative_to(own)):
        try:
            function = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        function.argtypes = [_Callback, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        function.restype = None
        return function
    return None
