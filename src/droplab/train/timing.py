"""Timing the steps of plans in turns, so that what else a machine does has no say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from time import get_clock_info, perf_counter, process_time

import torch

from droplab.train._execution import MATMUL_PATHS, ExecutionPlan

_TIE = 0.95
"""A plan with more threads or another matmul path must be at least 5 % faster to be chosen."""

_EXACT = get_clock_info("process_time").resolution < 1e-4
"""Whether processor seconds are counted finely enough to time a few steps."""

_TURN = 0.02
"""Seconds that a plan is measured in one go, before the next one has its turn."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plan that may be chosen, and a step under it.

    Attributes:
        plan: The plan.
        step: Takes one training step on throw-away copies; several plans may share one.
        replicas: How many replicas take that step together.
    """

    plan: ExecutionPlan
    step: Callable[[], object]
    replicas: int = 1


def plan_variants(
    *, captured: bool, threads: Sequence[int] = (), device: str = "cpu", group: int = 1
) -> list[ExecutionPlan]:
    """Return the plans that differ in threads and matmul path alone, the plainest first.

    Args:
        captured: Whether they replay a recorded step.
        threads: Numbers of threads; if empty, one and all.
        device: Where the steps run. Away from the CPU, threads make no difference, and "medium"
            would mean other numbers.
        group: How many replicas are trained together.
    """
    on_cpu = device == "cpu"
    counts = (threads or sorted({1, usable_threads()})) if on_cpu else (1,)
    paths = MATMUL_PATHS if on_cpu and medium_is_accurate() else MATMUL_PATHS[:1]
    return [
        ExecutionPlan(threads, path, captured, group, device=device)
        for threads in counts
        for path in paths
    ]


def time_turns(candidates: Sequence[Candidate], *, seconds: float) -> list[float]:
    """Return the seconds that a step of one replica takes under each candidate.

    They take turns of 20 ms, so that a slow phase of the machine hits all of them, and the best
    turn of each counts. What takes twice as long as the best in two turns in a row has no more.

    Args:
        candidates: What to time; their steps have been taken before, so that all is recorded.
        seconds: About how long it may take in all.
    """
    cost = [float("inf")] * len(candidates)
    slow = [0] * len(candidates)
    until = perf_counter() + seconds
    while True:
        turn: dict[int, float] = {}
        for index, each in enumerate(candidates):
            if slow[index] < 2:
                with each.plan.active():
                    turn[index] = _sustained(each.step, each.plan.device) / each.replicas
                cost[index] = min(cost[index], turn[index])
        if perf_counter() >= until:
            return cost
        for index, now in turn.items():
            slow[index] = slow[index] + 1 if now > 2 * min(turn.values()) else 0


def fastest(costs: Sequence[float]) -> int:
    """Return the index of the smallest cost; of two within 5 %, the first, so noise has no say."""
    best = 0
    for index, cost in enumerate(costs):
        if cost < _TIE * costs[best]:
            best = index
    return best


def _sustained(step: Callable[[], object], device: str) -> float:
    """Return the mean seconds of a step over `_TURN`: threads that wait for each other show.

    On the CPU, what other processes take in between does not count.
    """
    began = perf_counter()
    step()  # wakes the threads of this plan
    wait_for(device)
    burst = 5 if perf_counter() - began < _TURN / 5 else 1
    began, used, count = perf_counter(), process_time(), 0
    while True:
        for _ in range(burst):
            step()
        wait_for(device)
        count += burst
        elapsed = perf_counter() - began
        if elapsed >= _TURN:
            return own_seconds(elapsed, process_time() - used, device) / count


def own_seconds(elapsed: float, used: float, device: str) -> float:
    """Return how long work takes on an idle machine, from the seconds and processor seconds of it.

    Threads use more processor seconds than have passed, and a process that had to wait uses less.
    """
    return min(elapsed, used) if device == "cpu" and _EXACT and used > 0 else elapsed


def wait_for(device: str) -> None:
    """Wait until a device has done what it was given, so that a clock may be read."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def usable_threads() -> int:
    """Return how many cores this process may use, as its CPU affinity says where there is one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def medium_is_accurate() -> bool:
    """Whether "medium" products have no larger error on this CPU than twice that of "highest".

    On processors with bfloat16 matrix units "medium" really rounds to bfloat16 (relative error
    about 3e-3) and is refused; elsewhere it only selects other float32 kernels.
    """
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(64, 256, generator=generator)
    b = torch.randn(256, 128, generator=generator)
    exact = a.double() @ b.double()
    errors: list[float] = []
    for path in MATMUL_PATHS:
        with ExecutionPlan(torch.get_num_threads(), path).active():
            errors.append(((a @ b).double() - exact).norm().item())
    return errors[1] <= 2 * errors[0]
