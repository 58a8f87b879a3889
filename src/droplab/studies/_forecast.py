"""What a run will take on this machine, before it begins: time and memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from droplab.data import Split
from droplab.data.tree import named
from droplab.recipe import Arm
from droplab.studies._experiment import Experiment
from droplab.studies._timed import first_batch
from droplab.train import ExecutionPlan
from droplab.train.memory import evaluation_bytes, member_bytes
from droplab.train.timing import BUSY
from droplab.verdict import duration

_PROCESS = 350 * 2**20
"""What a process with torch in it takes before it holds anything."""

_SHORT = 10.0
"""Seconds of training up to which no more than that is said: starting takes as long."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        replicas: Arms times seeds.
        steps: Optimizer steps of all of them.
        seconds: What training and scoring them takes, as the plan was measured; None if its plan
            was not.
        busy: The share of the processors that others had while it was measured.
        device: Where.
        memory: Bytes at most, about, on that device; in all processes together on the CPU.
        sentence: The same in words.
    """

    replicas: int
    steps: int
    seconds: float | None
    busy: float
    device: str
    memory: int
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def forecast(
    experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan, *, seeds: int | None = None
) -> Forecast:
    """Return what a run of these arms takes under a plan that was measured for it.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        plan: What `choose_plan` returned for them.
        seeds: How many of its seeds are trained; None for all.

    Example:
        >>> from droplab.recipe import load
        >>> from droplab.studies import resolve
        >>> experiment = resolve(load("digits"))
        >>> forecast(experiment, experiment.recipe.arms, ExecutionPlan(1)).replicas
        32
    """
    recipe = experiment.recipe
    of_all = len(recipe.seeds)
    seeds = of_all if seeds is None else seeds
    replicas = len(arms) * seeds
    steps = replicas * recipe.epochs * experiment.steps_an_epoch
    total = next((row.total for row in plan.tried if row.chosen), 0.0)
    seconds = total * seeds / of_all if total > 0 else None
    memory = _memory(experiment, arms, plan, replicas)
    took = "How long it takes was not measured"
    if seconds is not None and seconds < _SHORT:
        took = "Training takes a few seconds"
    elif seconds is not None:
        took = f"Training takes about {duration(seconds)}, as measured on this machine"
        if plan.others > BUSY:
            took += f" while other processes used {100 * plan.others:.0f} % of it"
    where = "" if plan.device == "cpu" else f" on {plan.device}"
    sentence = f"{took}; at most about {_size(memory)} of memory{where}."
    return Forecast(replicas, steps, seconds, plan.others, plan.device, memory, sentence)


def _memory(experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan, replicas: int) -> int:
    model = experiment.replica(arms[-1], experiment.recipe.seeds[0]).model
    inputs, targets = first_batch(experiment)
    task, members = experiment.task, min(plan.group, replicas)
    training = members * member_bytes(model, inputs, targets, task)
    training += evaluation_bytes(model, inputs, targets, task)
    data = _data_bytes(experiment)
    if plan.device != "cpu":
        return training + data
    here = max(_PROCESS, psutil.Process(os.getpid()).memory_info().rss)
    if not plan.workers:
        return here + training
    return here + min(plan.workers, replicas) * (_PROCESS + data + training)


def _data_bytes(experiment: Experiment) -> int:
    """Bytes of the examples in memory."""
    splits = experiment.splits
    parts: list[torch.Tensor] = []
    for split in (splits.train, splits.validation, splits.test):
        if isinstance(split, Split):
            parts += [*(tensor for _, tensor in named(split.inputs)), split.targets]
    return sum(tensor.numel() * tensor.element_size() for tensor in parts)


def _size(count: int) -> str:
    """Write a number of bytes with two digits."""
    unit, size = ("GB", 10**9) if count >= 10**9 else ("MB", 10**6)
    number = count / size
    return f"{number:.1f} {unit}" if number < 10 else f"{float(f'{number:.2g}'):.0f} {unit}"
