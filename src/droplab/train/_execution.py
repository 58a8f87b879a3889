"""The execution plan: what the bits of a run depend on besides its recipe."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from droplab.errors import ArgumentError
from droplab.train._denormals import flushed_denormals
from droplab.train.freed_memory import freed_memory_kept
from droplab.train.scoring import EVAL_BATCH

MATMUL_PATHS = ("highest", "medium")


@dataclasses.dataclass(frozen=True)
class Tried:
    """A plan that was looked at when another, or this one, was chosen.

    Attributes:
        threads, matmul, captured, compiled, group, workers, device, channels_last: As those of
            `ExecutionPlan`.
        step: Seconds that a step of one replica was measured to take; 0 if it could not be tried.
        total: Seconds that all steps of all replicas would take so, starts included, estimated.
        chosen: Whether this is the plan of the run.
        reason: Why it was not chosen, or not tried.
    """

    threads: int = 1
    matmul: str = "highest"
    captured: bool = False
    compiled: bool = False
    group: int = 1
    workers: int = 0
    device: str = "cpu"
    channels_last: bool = False
    step: float = 0.0
    total: float = 0.0
    chosen: bool = False
    reason: str = ""

    @classmethod
    def of(
        cls, plan: ExecutionPlan, *, step: float = 0.0, total: float = 0.0, reason: str = ""
    ) -> Tried:
        """Return the row of a plan."""
        own = ("step", "total", "chosen", "reason")
        names = [field.name for field in dataclasses.fields(cls) if field.name not in own]
        how = {name: getattr(plan, name) for name in names}
        return cls(**how, step=step, total=total, reason=reason)

    def like(self, plan: ExecutionPlan) -> bool:
        """Whether this is the row of a plan."""
        how = dataclasses.replace(self, step=0.0, total=0.0, chosen=False, reason="")
        return how == Tried.of(plan)


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
        score_threads: Threads that torch uses meanwhile; 0: as many as for steps.
        score_train: How many training examples are scored after each epoch but the last, always
            the same ones; after the last, all of them. 0: all, always.
        tried: The plans that were looked at when it was chosen, itself among them; empty where that
            was not kept. No bits depend on it, and equal plans may differ in it.
        others: The part of the processors that other processes used meanwhile.

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
    score_threads: int = 0
    score_train: int = 0
    eager_reason: str = ""
    tried: tuple[Tried, ...] = dataclasses.field(default=(), compare=False, repr=False)
    others: float = dataclasses.field(default=0.0, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ArgumentError(f"ExecutionPlan.threads: expected at least 1, got {self.threads}")
        if self.group < 1 or self.workers < 0:
            raise ArgumentError(
                "ExecutionPlan: expected a group of at least 1 and at least 0 workers, got "
                f"{self.group} and {self.workers}"
            )
        if self.score_batch < 1 or min(self.score_train, self.score_threads) < 0:
            raise ArgumentError(
                "ExecutionPlan: expected a score_batch of at least 1, and score_train and "
                f"score_threads of at least 0, got {self.score_batch}, {self.score_train} and "
                f"{self.score_threads}"
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
        if self.matmul not in MATMUL_PATHS:
            raise ArgumentError(
                f"ExecutionPlan.matmul: expected one of {', '.join(MATMUL_PATHS)}, got "
                f"{self.matmul!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, to be stored with the run."""
        return {
            **dataclasses.asdict(self),
            "tried": [dataclasses.asdict(each) for each in self.tried],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExecutionPlan:
        """Return the plan that `to_dict` wrote."""
        known = _known(cls, data)
        known["tried"] = tuple(Tried(**_known(Tried, each)) for each in data.get("tried", ()))
        return cls(**known)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Apply the process-wide settings of the plan, and give the old ones back after.

        Denormal numbers are taken as zero, and freed memory is kept, whatever the plan: see
        `flushed_denormals` and `freed_memory_kept`.
        """
        threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)
        try:
            with flushed_denormals(max(self.threads, self.score_threads)), freed_memory_kept():
                yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(matmul)

    @contextlib.contextmanager
    def scoring(self) -> Iterator[None]:
        """While the plan is active, use the threads of scoring instead of those of steps."""
        torch.set_num_threads(self.score_threads or self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(self.threads)


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataclass knows of some data; later versions may have written more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in data.items() if name in names}


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
