"""The execution plan: what the bits of a run depend on besides its recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import get_clock_info, perf_counter, process_time
from typing import Any

import torch

from droplab.errors import ArgumentError
from droplab.train._evaluate import EVAL_BATCH

_PATHS = ("highest", "medium")
_TIE = 0.95
"""A plan with more threads or another matmul path must be at least 5 % faster to be chosen."""

_EXACT = get_clock_info("process_time").resolution < 1e-4
"""Whether processor seconds are counted finely enough to time a few steps."""

_TURN = 0.02
"""Seconds that a plan is measured in one go, before the next one has its turn."""


@dataclasses.dataclass(frozen=True)
class ExecutionPlan:
    """How the steps of a run are executed. Equality of bits is a claim under one plan.

    Attributes:
        threads: Threads that torch uses inside one operation.
        matmul: Precision setting of float32 products on the CPU, "highest" or "medium". On some
            processors "medium" selects faster kernels of the same accuracy; it is only ever used
            where the error was measured not to grow.
        captured: Whether the step is recorded once and replayed, or runs through autograd.
        eager_reason: Why steps are not recorded, if they may not be.
        compiled: Whether the record is compiled as C, for one thread; for replicas trained by
            themselves. Sums are then added up in another order, so the last bits differ.
        group: How many replicas are trained together at most, in one batched step; 1: each by
            itself.
        workers: Processes that train beside each other, each with one thread; 0: none, the driver
            trains.
        reason: Why replicas are not trained together, if they are not.
        device: Where replicas are trained: "cpu", "cuda", or one of several as "cuda:1".
        channels_last: Whether the weights of 2-D convolutions, and so what flows between them, lie
            in memory channel by channel for each pixel; for replicas trained by themselves.
        score_batch: Examples that go through a model together when it is scored; members of a group
            share them. The grouping of a product can change its last bits.
        score_train: How many training examples are scored after each epoch but the last, always
            the same ones; after the last, all of them. 0: all, always.

    Example:
        >>> plan = ExecutionPlan(threads=1)
        >>> ExecutionPlan.from_dict(plan.to_dict()) == plan
        True
    """

    threads: int
    matmul: str = "highest"
    captured: bool = False
    group: int = 1
    workers: int = 0
    reason: str = ""
    device: str = "cpu"
    compiled: bool = False
    channels_last: bool = False
    score_batch: int = EVAL_BATCH
    score_train: int = 0
    eager_reason: str = ""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ArgumentError(f"ExecutionPlan.threads: expected at least 1, got {self.threads}")
        if self.group < 1 or self.workers < 0:
            raise ArgumentError(
                "ExecutionPlan: expected a group of at least 1 and at least 0 workers, got "
                f"{self.group} and {self.workers}"
            )
        if self.score_batch < 1 or self.score_train < 0:
            raise ArgumentError(
                "ExecutionPlan: expected a score_batch of at least 1 and a score_train of at least "
                f"0, got {self.score_batch} and {self.score_train}"
            )
        if self.device != "cpu" and self.device.partition(":")[0] != "cuda":
            raise ArgumentError(
                f"ExecutionPlan.device: expected 'cpu' or 'cuda', got {self.device!r}"
            )
        if self.compiled and (not self.captured or self.group > 1 or self.device != "cpu"):
            raise ArgumentError(
                "ExecutionPlan.compiled: expected recorded steps of one replica, on the CPU, got "
                f"captured={self.captured}, group={self.group}, device={self.device!r}"
            )
        if self.channels_last and self.group > 1:
            raise ArgumentError(
                "ExecutionPlan.channels_last: expected replicas by themselves, got a group of "
                f"{self.group}"
            )
        if self.matmul not in _PATHS:
            raise ArgumentError(
                f"ExecutionPlan.matmul: expected one of {', '.join(_PATHS)}, got {self.matmul!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, to be stored with the run."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExecutionPlan:
        """Return the plan that `to_dict` wrote."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Apply the process-wide settings of the plan, and give the old ones back after.

        Numbers below 1e-38 are taken as zero in this thread, whatever the plan: moments of weights
        whose gradient is zero decay into that range, dropout makes many such, and processors take
        a hundred times as long for each.
        """
        threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
        flushed = flushes_denormals()
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(flushed)
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(matmul)


def flushes_denormals() -> bool:
    """Return whether arithmetic in this thread takes denormal numbers as zero."""
    return not (torch.full((1,), 1e-310, dtype=torch.float64) * 2.0).any()


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
    paths = _PATHS if on_cpu and medium_is_accurate() else _PATHS[:1]
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


def cuda_is_there() -> bool:
    """Whether torch finds a CUDA device."""
    return torch.cuda.is_available()


def choose_device(wanted: str | None) -> str:
    """Return where to train: what is wanted, else a CUDA device if there is one, else the CPU.

    Raises:
        ArgumentError: If it is no device, or there is none of its kind.
    """
    there = cuda_is_there()
    if wanted is None:
        return "cuda" if there else "cpu"
    ExecutionPlan(1, device=wanted)
    if wanted != "cpu" and not there:
        raise ArgumentError(
            f"device: expected one that is there, got {wanted!r}, and torch finds no CUDA device; "
            "leave it out or take 'cpu'"
        )
    return wanted


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
    for path in _PATHS:
        with ExecutionPlan(torch.get_num_threads(), path).active():
            errors.append(((a @ b).double() - exact).norm().item())
    return errors[1] <= 2 * errors[0]
