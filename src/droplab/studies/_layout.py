"""Whether convolutions are faster with their channels last in memory, by measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from droplab.recipe import Arm
from droplab.studies._experiment import Experiment
from droplab.studies._timed import TimedReplicas
from droplab.studies._worker import can_send
from droplab.train import ExecutionPlan, Tried
from droplab.train.timing import Candidate, time_turns, usable_threads

_SECONDS, _ROUNDS = 0.4, 4
"""About how long the layouts are compared, in turns, and how many turns each has at least."""


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
    captured = plan.captured if plan.group == 1 else experiment.capturable
    alone = dataclasses.replace(
        plan, threads=threads, group=1, captured=captured, channels_last=True
    )
    usual = TimedReplicas(experiment, arms, plan)
    last = TimedReplicas(experiment, arms, alone)
    if not _same(
        TimedReplicas(experiment, arms, dataclasses.replace(alone, channels_last=False)), last
    ):
        return plan
    works = [partial(_work, trial, experiment) for trial in (usual, last)]
    for each, work in zip((plan, alone), works, strict=True):
        with each.active():
            for _ in range(3):  # recorded where it is
                work()
    turns = [Candidate(plan, works[0], usual.members), Candidate(alone, works[1])]
    costs = time_turns(turns, seconds=_SECONDS, rounds=_ROUNDS)
    if plan.group == 1:
        other = dataclasses.replace(plan, channels_last=True)
    else:
        count = len(arms) * len(recipe.seeds)
        workers = min(usable_threads(), count) if plan.workers and can_send(experiment) else 0
        reason = "each is faster by itself, with its channels last in memory"
        other = dataclasses.replace(alone, workers=workers, reason=reason)
    chosen = costs[1] < costs[0]  # neither is the plainer one, so there is no tie to break
    tried = _with_row(plan, other, costs[1] / costs[0], chosen=chosen)
    return dataclasses.replace(other if chosen else plan, tried=tried)


def _with_row(
    plan: ExecutionPlan, other: ExecutionPlan, ratio: float, *, chosen: bool
) -> tuple[Tried, ...]:
    """What was tried, with the other layout, which takes so many times as long as the usual one."""
    rows: list[Tried] = []
    for each in plan.tried:
        if not each.chosen:
            rows.append(each)
            continue
        reason = "" if chosen else "slower"
        row = Tried.of(other, step=ratio * each.step, total=ratio * each.total, reason=reason)
        usual = dataclasses.replace(each, chosen=not chosen, reason="slower" if chosen else "")
        both = [usual, dataclasses.replace(row, chosen=chosen)]
        rows += reversed(both) if chosen else both
    return tuple(rows)


def _work(trial: TimedReplicas, experiment: Experiment) -> None:
    """Take a step, and score as many examples as it had: about what an epoch does for each."""
    trial.step()
    size = experiment.step_size
    trial.score_some(experiment.splits.train, torch.arange(size), size)


def _same(usual: TimedReplicas, other: TimedReplicas) -> bool:
    """Whether the model gives the same logits in both layouts; some ask for the usual one."""
    try:
        one, two = usual.logits(), other.logits()
        for _ in range(3):  # eager, recorded, replayed
            other.step()
    except RuntimeError:
        return False
    return torch.allclose(one, two, rtol=1e-3, atol=1e-4 * one.abs().max().item())
