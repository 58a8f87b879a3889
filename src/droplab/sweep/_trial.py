"""Throw-away replicas whose steps are timed before a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from droplab.data import Split
from droplab.recipe import Arm
from droplab.sweep._experiment import Experiment
from droplab.sweep._grouping import make_groups
from droplab.train import (
    ExecutionPlan,
    OnDevice,
    Population,
    PopulationEvaluation,
    PopulationStep,
    batch_order,
    build_step,
    evaluate,
)


def first_batch(experiment: Experiment) -> tuple[Tensor, Tensor]:
    """Return the first mini-batch of the first seed."""
    recipe, train = experiment.recipe, experiment.splits.train
    order = batch_order(recipe.seeds[0], 1, len(train))
    return next(train.batches(order, recipe.batch_size))


class Alone:
    """Steps of a throw-away replica, for timing."""

    def __init__(self, experiment: Experiment, plan: ExecutionPlan) -> None:
        recipe, train = experiment.recipe, OnDevice(experiment.splits.train, plan.device)
        replica = experiment.replica(recipe.arms[-1], recipe.seeds[0], plan.device)
        order = batch_order(recipe.seeds[0], 1, len(train))[: 64 * recipe.batch_size]
        size = min(recipe.batch_size, len(order))
        self._batches = [b for b in train.batches(order, size) if len(b[1]) == size]
        self._experiment = experiment
        self._replica = replica
        self._device = plan.device
        self._run = build_step(plan, replica.model, replica.optimizer, recipe.clip)
        self._number = 0
        self.members = 1
        replica.model.train()

    def step(self) -> None:
        """Take a training step."""
        self._replica.applied.set_step(self._number)
        self._run(*self._batches[self._number % len(self._batches)])
        self._number += 1

    def score(self) -> None:
        """Score what is scored after an epoch."""
        splits = self._experiment.splits
        for split in (splits.train, splits.validation):
            evaluate(self._replica.model, OnDevice(split, self._device))


class Together:
    """Batched steps of a throw-away group, for timing."""

    def __init__(
        self,
        experiment: Experiment,
        arms: Sequence[Arm],
        size: int,
        device: str = "cpu",
        *,
        captured: bool = True,
    ) -> None:
        group = make_groups(arms, experiment.recipe.seeds, size)[0]
        chosen = [arm for arm in arms if arm.name in group.arms]
        self._population: Population = experiment.population(chosen, group.seeds, device)
        self._experiment = experiment
        self.members = self._population.members
        clip = experiment.recipe.clip
        self._run = PopulationStep(self._population, captured=captured, clip=clip)
        self._evaluation = PopulationEvaluation(self._population, captured=captured)
        inputs, targets = (part.to(device) for part in first_batch(experiment))
        seeds = self._population.seeds
        self._batch = torch.stack([inputs] * seeds), torch.stack([targets] * seeds)
        self._number = 0
        self._population.template.train()

    def step(self) -> None:
        """Take a training step."""
        self._population.set_step(self._number)
        self._run(*self._batch)
        self._number += 1

    def score(self) -> None:
        """Score what is scored after an epoch."""
        train, validation = self._experiment.splits.train, self._experiment.splits.validation
        if isinstance(train, Split) and isinstance(validation, Split):
            self._evaluation(train)
            self._evaluation(validation)
