"""Memory that tensors have freed, kept for the next step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

_TRIM, _MMAP = -1, -3
"""What the GNU C library calls the threshold above which it gives freed memory back at the end of
its heap, and the size from which a block is one of the system's own."""

_KEPT = {_TRIM: -1, _MMAP: 1 << 30}
_USUAL = {_TRIM: 1 << 26, _MMAP: 1 << 25}
"""As far as the library raises both by itself, in a program that frees large blocks."""

_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Variables of the environment by which a user has decided already, as by GLIBC_TUNABLES."""

_lock = threading.Lock()
_inside = 0
"""How many `freed_memory_kept` are at work in this process."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep the memory of freed tensors for the next step, inside; give it back in the end.

    The GNU C library gives large blocks back to the system as soon as they are free. Every step
    takes them again, and the system clears them, page by page: an eighth of a step of a ResNet-18
    on small images. The most that a process takes is about the same. With another C library, or
    where the user has set its thresholds, nothing is changed.
    """
    global _inside
    library = _library()
    if library is None:
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            _set(library, _KEPT)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(library, _USUAL)
                library.malloc_trim(0)


def _set(library: Any, thresholds: Mapping[int, int]) -> None:
    for which, size in thresholds.items():
        library.mallopt(which, size)


@cache
def _library() -> Any:
    """Return the C library if it has such thresholds and nobody has set them, else None."""
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if tuned or any(name in os.environ for name in _CHOSEN):
        return None
    try:
        library = ctypes.CDLL(None)
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return None
    return library
