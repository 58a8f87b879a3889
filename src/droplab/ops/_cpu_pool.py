"""A small pool of threads for large tensors.

numba's own thread layers are not used: one of them kills forked children, another aborts when two
threads call it at once. Kernels run without the interpreter's lock, so plain threads do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import torch

ELEMENTS_PER_THREAD = 1 << 20
"""Elements below which another thread costs more than it saves.

They take a thread 0.2 milliseconds; to wake another and to hear from it takes about half of that.
"""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_workers = 0


def run_units(units: int, elements: int, work: Callable[[int, int], int]) -> int:
    """Call work(first, last) on slices that cover range(units), return the largest result.

    Uses at most `torch.get_num_threads()` threads, this one included, and as few as the number of
    elements in all units is worth.
    """
    threads = min(torch.get_num_threads(), units, elements // ELEMENTS_PER_THREAD)
    if threads < 2:
        return work(0, units)
    cuts = [units * i // threads for i in range(threads + 1)]
    pending: list[Future[int]] = []
    result = 0
    try:
        pool = _get_pool(threads - 1)
        for first, last in pairwise(cuts[1:]):
            pending.append(pool.submit(work, first, last))
    except RuntimeError:  # the interpreter is shutting down and takes no new work
        result = work(cuts[len(pending) + 1], units)
    result = max(result, work(0, cuts[1]))
    return max([result, *(future.result() for future in pending)])


def _get_pool(workers: int) -> ThreadPoolExecutor:
    global _pool, _workers
    with _lock:
        if _pool is None or workers > _workers:
            # An older and smaller pool finishes what it has and ends with its last reference.
            _pool = ThreadPoolExecutor(workers, thread_name_prefix="droplab-mask")
            _workers = workers
        return _pool


def _forget() -> None:
    """Drop the pool in a forked child, which has none of its threads."""
    global _pool, _workers, _lock
    _lock = threading.Lock()
    _pool, _workers = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
