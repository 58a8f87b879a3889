"""Choosing how a run is executed, by measuring a few steps on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.data import Split
from droplab.errors import DroplabError
from droplab.recipe import Arm, Recipe
from droplab.sweep._experiment import Experiment
from droplab.sweep._planner import Planner
from droplab.sweep._trial import Alone, Together, first_batch
from droplab.train import (
    ExecutionPlan,
    choose_device,
    is_elementwise,
    population_gradients,
    wait_for,
)


def choose_plan(
    experiment: Experiment, arms: Sequence[Arm] = (), *, device: str | None = None
) -> ExecutionPlan:
    """Return the fastest execution plan for an experiment on this machine.

    How long that may take depends on how long training takes: what trains in seconds is not
    measured at all.

    Args:
        experiment: The experiment.
        arms: The arms that are trained; all of them if empty.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one.

    Raises:
        ArgumentError: If there is no such device.
    """
    device, arms = choose_device(device), arms or experiment.recipe.arms
    return Planner(experiment, arms, device, lambda: why_alone(experiment, arms)).choose()


def why_alone(experiment: Experiment, arms: Sequence[Arm]) -> str:
    """Return why replicas cannot be trained together; empty if they can.

    One batched step of one seed is compared with the direct one: gradients of a member must be
    those that its model has alone.
    """
    recipe = experiment.recipe
    if not isinstance(experiment.splits.train, Split):
        return "the data is streamed"
    arm, seed = arms[-1], recipe.seeds[0]
    replica = experiment.replica(arm, seed)
    if not is_elementwise(replica.optimizer):
        return f"{type(replica.optimizer).__name__} looks at whole tensors, not at each number"
    if len(recipe.seeds) > 1:
        experiment.population([arm], recipe.seeds[:2])  # checks what the factory returns
    inputs, targets = first_batch(experiment)
    replica.applied.set_step(0)
    trained = [p for group in replica.optimizer.param_groups for p in group["params"]]
    with torch.random.fork_rng():
        loss = F.cross_entropy(replica.model.train()(inputs), targets)
        expected = torch.autograd.grad(loss, trained, allow_unused=True)
    try:
        population = experiment.population([arm], [seed])
        population.template.train()
        population.set_step(0)
        _, gradients = population_gradients(population, inputs[None], targets[None])
    except DroplabError:
        raise
    except Exception as error:  # whatever somebody's forward does when its tensors are batched
        return f"torch.func.vmap refuses the model: {_first_sentence(error)}"
    for one, two in zip(expected, gradients, strict=True):
        if one is not None and (two is None or not _close(two[0], one)):
            return "its batched step does not have the gradients of the single one"
    return ""


def _first_sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0].rstrip(".")[:200]


def _close(one: Tensor, two: Tensor) -> bool:
    both_broken = not bool(two.isfinite().all()) and not bool(one.isfinite().all())
    return both_broken or torch.allclose(one, two, rtol=1e-2, atol=1e-3 * two.abs().max().item())


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
