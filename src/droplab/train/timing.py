"""Timing the steps of plans in turns, so that what else a machine does has no say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from time import get_clock_info, perf_counter, process_time, thread_time

import psutil
import torch

from droplab.train._execution import MATMUL_PATHS, ExecutionPlan

_TIE = 0.95
"""A plan with more threads or another matmul path must be at least 5 % faster to be chosen."""

_EXACT = max(get_clock_info(n).resolution for n in ("process_time", "thread_time")) < 1e-4
"""Whether processor seconds are counted finely enough to time a few steps."""

BUSY = 0.2
"""The part of the usable processors from which on what others take makes timings doubtful."""

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


def time_turns(candidates: Sequence[Candidate], *, seconds: float, rounds: int = 1) -> list[float]:
    """Return the seconds that a step of one replica takes under each candidate.

    They take turns of 20 ms, so that a slow phase of the machine hits all of them, and the best
    turn of each counts. What is far behind has no more turns: nine times the best after one, five
    times after two, three times after four.

    Args:
        candidates: What to time; their steps have been taken before, so that all is recorded.
        seconds: About how long it may take in all.
        rounds: How many turns each has at least, unless it is far behind.
    """
    cost = [float("inf")] * len(candidates)
    until, done = perf_counter() + seconds, 0
    while done < rounds or perf_counter() < until:
        limit = (1 + 8 / done) * min(cost) if done else float("inf")
        for index, each in enumerate(candidates):
            if cost[index] <= limit:
                with each.plan.active():
                    turn = _sustained(each.step, each.plan) / each.replicas
                cost[index] = min(cost[index], turn)
        done += 1
    return cost


def fastest(costs: Sequence[float]) -> int:
    """Return the index of the smallest cost; of two within 5 %, the first, so noise has no say."""
    best = 0
    for index, cost in enumerate(costs):
        if cost < _TIE * costs[best]:
            best = index
    return best


def _sustained(step: Callable[[], object], plan: ExecutionPlan) -> float:
    """Return the mean seconds of a step over `_TURN`: threads that wait for each other show.

    On the CPU, what other processes take in between does not count.
    """
    watch = Stopwatch(plan)
    step()  # wakes the threads of this plan
    wait_for(plan.device)
    burst = 5 if watch.elapsed < _TURN / 5 else 1
    watch, count = Stopwatch(plan), 0
    while True:
        for _ in range(burst):
            step()
        wait_for(plan.device)
        count += burst
        if watch.elapsed >= _TURN:
            return watch.own / count


class Stopwatch:
    """Times work in this thread, from when it is made.

    Args:
        plan: The plan that the work is done under.
    """

    def __init__(self, plan: ExecutionPlan) -> None:
        # threads that wait for work spin, so where the plan has one thread only that one is asked
        self._used = thread_time if plan.threads == 1 else process_time
        self._counts = plan.device == "cpu" and _EXACT
        self._began, self._began_used = perf_counter(), self._used()

    @property
    def elapsed(self) -> float:
        """Seconds that have passed."""
        return perf_counter() - self._began

    @property
    def own(self) -> float:
        """Seconds that the work would have taken on an idle machine, as far as a clock can tell.

        Several threads use more processor seconds than have passed, and a process that had to wait
        uses less.
        """
        elapsed, used = self.elapsed, self._used() - self._began_used
        return min(elapsed, used) if self._counts and used > 0 else elapsed


class Load:
    """What other processes take of the processors, from when it is made."""

    def __init__(self) -> None:
        self._began, self._began_busy = perf_counter(), self._busy()

    @property
    def others(self) -> float:
        """The part of the usable processors that others took so far, from 0 to 1."""
        elapsed = max(1e-9, perf_counter() - self._began)
        taken = (self._busy() - self._began_busy) / (elapsed * usable_threads())
        return min(1.0, max(0.0, taken))

    @staticmethod
    def _busy() -> float:
        """Seconds that the usable processors worked for others than this process since boot."""
        own = sum(os.times()[:4])  # with children that have ended, a compiler for one
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        total = 0.0
        for core, times in enumerate(psutil.cpu_times(percpu=True)):
            if usable is None or core in usable:
                taken = times._asdict()
                # guests are counted among the users' seconds already
                for name in ("idle", "iowait", "guest", "guest_nice"):
                    taken.pop(name, None)
                total += sum(taken.values())
        return total - own


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
