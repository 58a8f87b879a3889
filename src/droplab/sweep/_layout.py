"""Whether convolutions are faster with their channels last in memory, by measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, thread_time

import torch
from torch import nn

from droplab.recipe import Arm
from droplab.sweep._experiment import Experiment
from droplab.sweep._trial import Alone, Together
from droplab.sweep._worker_session import can_send
from droplab.train import ExecutionPlan, usable_threads

_SECONDS = 0.4
"""About how long the layouts are compared, in turns."""

_FEWEST = 120
"""Steps of a whole run from which layouts are compared: comparing takes as long as some forty."""

_GAIN = 0.95
"""What another layout must save at least, scoring included, so that noise does not decide."""


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
    count = len(arms) * len(recipe.seeds)
    if count * recipe.epochs * experiment.steps_an_epoch < _FEWEST:
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
    works = [(plan, partial(_work, usual, experiment)), (alone, partial(_work, other, experiment))]
    seconds = in_turns(works, _SECONDS)
    if seconds[1] > _GAIN * seconds[0] / usual.members:
        return plan
    if not together:
        return dataclasses.replace(plan, channels_last=True)
    workers = min(usable_threads(), count) if plan.workers and can_send(experiment) else 0
    reason = "each is faster by itself, with its channels last in memory"
    return dataclasses.replace(alone, workers=workers, reason=reason)


def _work(trial: Alone | Together, experiment: Experiment) -> None:
    """Take a step, and score as many examples as it had: about what an epoch does for each."""
    trial.step()
    size = experiment.recipe.batch_size
    trial.score_some(experiment.splits.train, torch.arange(size), size)


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
    works: Sequence[tuple[ExecutionPlan, Callable[[], object]]], seconds: float
) -> list[float]:
    """Return the fewest seconds that each piece of work took, under its plan, all in turns."""
    # seconds of the processor say nothing of what else the machine does, but see one thread only
    clock = thread_time if all(plan.threads == 1 for plan, _ in works) else perf_counter
    for plan, work in works:
        with plan.active():
            for _ in range(3):
                work()
    fewest = [float("inf")] * len(works)
    until, rounds = perf_counter() + seconds, 0
    while rounds < 3 or perf_counter() < until:
        for index, (plan, work) in enumerate(works):
            with plan.active():
                if plan.threads > 1:
                    work()  # wakes them
                began = clock()
                for _ in range(3):
                    work()
                fewest[index] = min(fewest[index], (clock() - began) / 3)
        rounds += 1
    return fewest
