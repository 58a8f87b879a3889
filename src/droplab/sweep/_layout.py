"""Whether convolutions are faster with their channels last in memory, by measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import nn

from droplab.recipe import Arm
from droplab.sweep._experiment import Experiment
from droplab.sweep._trial import Alone, Together
from droplab.sweep._worker_session import can_send
from droplab.train import ExecutionPlan, usable_threads

_SECONDS = 0.4
"""About how long the layouts are compared, in turns."""

_GAIN = 0.95
"""What another layout must save at least, so that noise does not decide."""


def choose_layout(
    experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan
) -> ExecutionPlan:
    """Return the plan with the channels last in memory, where that is faster.

    On the CPU torch's pooling and its convolutions of few channels take two to five times as long
    in the usual layout. A group of replicas has one convolution with a group of channels for each,
    which gains nothing by it: so it is compared with replicas by themselves.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        plan: The fastest plan in the usual layout.
    """
    recipe = experiment.recipe
    model = experiment.replica(recipe.baseline, recipe.seeds[0]).model
    convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
    if plan.device != "cpu" or plan.compiled or not convolutional:
        return plan
    threads = 1 if plan.workers else plan.threads
    alone = dataclasses.replace(
        plan, threads=threads, group=1, captured=experiment.capturable, channels_last=True
    )
    together = plan.group > 1
    usual = Together(experiment, arms, plan.group) if together else Alone(experiment, plan)
    other = Alone(experiment, alone)
    if not _same(Alone(experiment, dataclasses.replace(alone, channels_last=False)), other):
        return plan
    seconds = in_turns([(plan, usual.step), (alone, other.step)], _SECONDS)
    if seconds[1] > _GAIN * seconds[0] / usual.members:
        return plan
    if not together:
        return dataclasses.replace(plan, channels_last=True)
    count = len(arms) * len(recipe.seeds)
    workers = min(usable_threads(), count) if plan.workers and can_send(experiment) else 0
    reason = "each is faster by itself, with its channels last in memory"
    return dataclasses.replace(alone, workers=workers, reason=reason)


def _same(usual: Alone, other: Alone) -> bool:
    """Whether the model gives the same logits in both layouts; some ask for the usual one."""
    try:
        one, two = usual.logits(), other.logits()
        for _ in range(3):  # eager, recorded, replayed
            other.step()
    except RuntimeError:
        return False
    return torch.allclose(one, two, rtol=1e-3, atol=1e-4 * one.abs().max().item())


def in_turns(
    steps: Sequence[tuple[ExecutionPlan, Callable[[], object]]], seconds: float
) -> list[float]:
    """Return the fewest seconds that each step took, each under its plan, and all in turns."""
    for plan, step in steps:
        with plan.active():
            for _ in range(3):
                step()
    fewest = [float("inf")] * len(steps)
    until, rounds = perf_counter() + seconds, 0
    while rounds < 3 or perf_counter() < until:
        for index, (plan, step) in enumerate(steps):
            with plan.active():
                step()  # wakes the threads of this plan
                began = perf_counter()
                for _ in range(3):
                    step()
                fewest[index] = min(fewest[index], (perf_counter() - began) / 3)
        rounds += 1
    return fewest
