"""Freed memory is kept for the next step, and given back in the end."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import psutil
import pytest
import torch

from droplab.train import ExecutionPlan, freed_memory
from tests.forks import fork, needs_forks

BYTES = 80 << 20


def faults(times: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(BYTES // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def measure(told: Path) -> None:
    """Tell page faults of 20 tensors in a plan, bytes given back after it, faults after it."""
    with ExecutionPlan(1).active():
        with ExecutionPlan(1).active():
            two = [torch.ones(BYTES // 4) for _ in range(2)]
            del two  # room for one, wherever a small thing comes to lie meanwhile
        inside = faults(20)
        inside_bytes = psutil.Process().memory_info().rss
    after_bytes = psutil.Process().memory_info().rss
    told.write_text(json.dumps([inside, inside_bytes - after_bytes, faults(20)]))


@needs_forks
@pytest.mark.skipif(freed_memory._library() is None, reason="the C library has no such thresholds")
def test_a_plan_keeps_what_is_freed_and_gives_it_back(tmp_path: Path) -> None:
    process = fork(measure, tmp_path / "told")
    process.join()
    inside, given_back, after = json.loads((tmp_path / "told").read_text())
    pages = BYTES // 4096
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
