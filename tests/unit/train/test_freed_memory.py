"""Freed memory is kept for the next step, and given back in the end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from droplab.train import freed_memory

PROGRAM = """
import resource
import psutil, torch
from droplab.train import ExecutionPlan

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(BYTES // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

BYTES = 80 << 20
with ExecutionPlan(1).active():
    with ExecutionPlan(1).active():
        faults(1)
    inside = faults(20)
    inside_bytes = psutil.Process().memory_info().rss
after_bytes = psutil.Process().memory_info().rss
print(inside, inside_bytes - after_bytes, faults(20))
"""


def numbers(**environment: str) -> list[int]:
    """Page faults of 20 tensors in an active plan, bytes given back after it, faults after it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return [int(each) for each in done.stdout.split()]


@pytest.mark.skipif(freed_memory._library() is None, reason="the C library has no such thresholds")
def test_a_plan_keeps_what_is_freed_and_gives_it_back() -> None:
    pages = (80 << 20) // 4096
    inside, given_back, after = numbers()
    assert inside < 3 * pages  # 20 x pages where the system clears each of the 20 tensors
    assert given_back > 40 << 20
    assert after > inside


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("MALLOC_TRIM_THRESHOLD_", "1000000"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000000"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert freed_memory._library.__wrapped__() is None
