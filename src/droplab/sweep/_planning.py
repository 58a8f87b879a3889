"""Choosing how a run is executed, by measuring a few steps on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache, partial
from time import perf_counter

import torch

from droplab.data import Split
from droplab.recipe import Arm, Recipe
from droplab.sweep._experiment import Experiment
from droplab.sweep._grouping import make_groups
from droplab.sweep._trial import Alone, Together, first_batch
from droplab.sweep._worker_session import can_send
from droplab.train import (
    EagerStep,
    ExecutionPlan,
    OneByOne,
    UnsupportedError,
    available_bytes,
    choose_device,
    comparison_batches,
    compiler,
    evaluation_bytes,
    is_out_of_memory,
    member_bytes,
    time_plans,
    usable_threads,
    wait_for,
    why_not_elementwise,
    why_not_stacked,
)

_LARGEST = 128
"""Replicas in a group at most: beyond, weights that fall out of the caches cost what is saved."""

_GAIN = 0.95
"""What training together must save at least."""

_BESIDE = 0.9
"""How fast processes are beside each other, compared with each alone: they share the memory."""

_COMPILE_SECONDS = 5.0
"""Seconds of training, replica by replica, from which it is tried to compile the step: it takes one
or two."""

_RECORD_SECONDS = 1.5
"""What a replica in a process of its own takes to begin, recording its steps included."""

_START_SECONDS = 10.0
"""What worker processes must save at least: they have to start, and each loads the data."""


def choose_plan(
    experiment: Experiment, arms: Sequence[Arm] = (), *, device: str | None = None
) -> ExecutionPlan:
    """Return the fastest execution plan for an experiment on this machine.

    Args:
        experiment: The experiment.
        arms: The arms that are trained; all of them if empty.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one.

    Raises:
        ArgumentError: If there is no such device.
    """
    device = choose_device(device)
    recipe = experiment.recipe
    arms = arms or recipe.arms

    @cache
    def alone(compiled: bool) -> Alone:
        plan = ExecutionPlan(1, captured=captured, device=device, compiled=compiled)
        return Alone(experiment, plan)

    captured = experiment.capturable
    single, seconds = time_plans(
        lambda _: alone(False).step, captured=captured, seconds=0.6, device=device
    )
    count = len(arms) * len(recipe.seeds)
    steps = count * recipe.epochs * experiment.steps_an_epoch
    compiled: tuple[ExecutionPlan, float] | None = None
    if device == "cpu" and captured and seconds * steps > _COMPILE_SECONDS:
        compiled = _compiled(alone, single)
    if count == 1:
        return compiled[0] if compiled else single
    reason = why_alone(experiment, arms)
    if reason:
        cores = min(usable_threads(), count) if device == "cpu" else 1
        if cores > 1 and can_send(experiment):
            return dataclasses.replace(single, reason=reason, threads=1, workers=cores)
        if cores > 1 and isinstance(experiment.splits.train, Split):
            reason += (
                "; and the factory of model or optimizer cannot be sent to worker processes, for "
                "which it must be at the top of a module that can be imported, so replicas are "
                "trained one by one"
            )
        return dataclasses.replace(single, reason=reason)
    best, cost = single, seconds
    for size in _sizes(experiment, count, device=device):
        try:
            trial = Together(experiment, arms, size, device)
            plan, seconds = time_plans(
                lambda _, step=trial.step: step,
                captured=trial.captured,
                seconds=0.5,
                device=device,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        if seconds / trial.members < _GAIN * cost:
            best, cost = dataclasses.replace(plan, group=size), seconds / trial.members
    beside = _beside(experiment, arms, cost * count, compiled) if device == "cpu" else None
    if beside is not None:
        return beside
    if best.group == 1:
        reason = "training them together was measured to be slower"
        best = dataclasses.replace(compiled[0] if compiled else best, reason=reason)
    return best


def _compiled(
    alone: Callable[[bool], Alone], single: ExecutionPlan
) -> tuple[ExecutionPlan, float] | None:
    """Return the compiled plan and its seconds a step, None if it is not there or not faster."""
    if not _compiles(alone):
        return None
    plan, seconds = time_plans(
        lambda plan: alone(plan.compiled).step,
        captured=True,
        seconds=0.4,
        threads=(single.threads,),
        compiled=True,
    )
    return (plan, seconds) if plan.compiled else None


def _compiles(alone: Callable[[bool], Alone]) -> bool:
    """Whether the step can be compiled here; it is, if so."""
    if compiler() is None:
        return False
    try:
        for _ in range(2):
            alone(True).step()
    except UnsupportedError:
        return False
    return True


def _beside(
    experiment: Experiment,
    arms: Sequence[Arm],
    rival: float,
    compiled: tuple[ExecutionPlan, float] | None,
) -> ExecutionPlan | None:
    """Return the best plan with worker processes, None if it saves too little.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        rival: Seconds that one step of all replicas takes in the driver.
        compiled: The plan of a compiled step of one replica and its seconds, if it is the fastest
            for one.
    """
    recipe = experiment.recipe
    count = len(arms) * len(recipe.seeds)
    workers = min(usable_threads(), count // 2)
    if workers < 2 or not can_send(experiment):
        return None
    steps = recipe.epochs * experiment.steps_an_epoch
    best: tuple[float, ExecutionPlan] | None = None
    if compiled is not None:
        plan, seconds = compiled
        each = seconds / _BESIDE + _RECORD_SECONDS / steps
        reason = "each is faster compiled, by itself"
        plan = dataclasses.replace(plan, workers=workers, reason=reason)
        best = -(-count // workers) * each, plan
    for size in _sizes(experiment, -(-count // workers), beside=workers):
        groups = make_groups(arms, recipe.seeds, size)
        if len(groups) < workers:
            continue
        trial = Together(experiment, arms, size)
        plan, seconds = time_plans(
            lambda _, step=trial.step: step, captured=trial.captured, seconds=0.3, threads=(1,)
        )
        rounds = -(-len(groups) // workers)
        total = rounds * seconds * max(len(g.members) for g in groups) / trial.members / _BESIDE
        if best is None or total < best[0]:
            best = total, dataclasses.replace(plan, group=size, workers=workers)
    if best is None:
        return None
    worthwhile = best[0] < _GAIN * rival and (rival - best[0]) * steps > _START_SECONDS
    return best[1] if worthwhile else None


def _sizes(
    experiment: Experiment, count: int, *, beside: int = 1, device: str = "cpu"
) -> list[int]:
    """Group sizes to measure, the largest that memory allows first; `beside` groups at a time."""
    model = experiment.replica(experiment.recipe.baseline, experiment.recipe.seeds[0]).model
    inputs, targets = first_batch(experiment)
    replica = max(1, member_bytes(model, inputs, targets))
    common = evaluation_bytes(model, inputs, targets)
    room = max(0, available_bytes(torch.device(device)) // beside - common) // replica
    largest = max(1, min(count, _LARGEST, room))
    sizes = [largest, largest // 2, largest // 4] if largest >= 16 else [largest]
    return [size for size in sizes if size > 1]


def why_alone(experiment: Experiment, arms: Sequence[Arm]) -> str:
    """Return why replicas cannot be trained together; empty if they can.

    A few batched steps of two seeds and two arms are compared with the direct ones: see
    `droplab.train.disagreement`.
    """
    recipe, train = experiment.recipe, experiment.splits.train
    if not isinstance(train, Split):
        return "the data is streamed"
    model = experiment.replica(arms[-1], recipe.seeds[0]).model
    reason = why_not_elementwise(experiment.make_optimizer, model)
    if reason:
        return reason
    seeds, pair = recipe.seeds[:2], _two_arms(arms)
    population = experiment.population(pair, seeds)
    replicas = [experiment.replica(arm, seed) for seed in seeds for arm in pair]
    members = [(each.model, each.optimizer, each.applied) for each in replicas]
    direct = OneByOne(members, len(pair), partial(EagerStep, clip=recipe.clip))
    batches = comparison_batches(train, seeds, recipe.batch_size)
    with ExecutionPlan(1).active():
        return why_not_stacked(direct, population, batches, recipe.clip)


def _two_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The last arm, and another that may be in its group, if there is one."""
    last = arms[-1]
    others = [arm for arm in arms[:-1] if arm.kind == last.kind or arm.is_baseline]
    return [*others[:1], last]


def fit_budget(
    experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan, budget: float
) -> Recipe:
    """Return the recipe with as many of its seeds as fit `budget` seconds, and at least one."""
    recipe = experiment.recipe
    with plan.active():
        trial = Together(experiment, arms, plan.group, plan.device) if plan.group > 1 else None
        trial = trial or Alone(experiment, plan)
        for _ in range(5):
            trial.step()
        began = perf_counter()
        steps = max(1, min(200, max(20, experiment.steps_an_epoch)) // trial.members)
        for _ in range(steps):
            trial.step()
        wait_for(plan.device)
        training = (perf_counter() - began) / steps * experiment.steps_an_epoch
        scoring = 0.0
        for _ in range(2):  # the first time records
            began = perf_counter()
            trial.score()
            scoring = perf_counter() - began
        epoch = (training + scoring) / trial.members
    epoch /= max(1, plan.workers)
    fitting = int(budget / (epoch * recipe.epochs * len(arms)))
    return dataclasses.replace(recipe, seeds=recipe.seeds[: max(1, fitting)])
