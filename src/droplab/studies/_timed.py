"""Throw-away replicas whose steps are timed before a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from droplab.data import Inputs
from droplab.data.dataset import AnySplit
from droplab.recipe import Arm
from droplab.studies._experiment import Experiment
from droplab.studies._grouping import Group, make_groups
from droplab.train import ExecutionPlan, batch_order
from droplab.train.calling import call
from droplab.train.scoring import evaluating
from droplab.train.streams import scored_examples

_MOST_STEPS = 64
"""Steps with batches of their own; later ones see the first batches again."""


def first_batch(experiment: Experiment) -> tuple[Inputs, Tensor]:
    """Return the first mini-batch of the first seed."""
    recipe, train = experiment.recipe, experiment.splits.train
    order = batch_order(recipe.seeds[0], 1, len(train))
    return next(train.batches(order, recipe.batch_size))


class TimedReplicas:
    """Steps of a throw-away executor, for timing.

    Args:
        experiment: The experiment.
        arms: The arms that are trained; the last one is taken where replicas train alone.
        plan: How steps are executed.
    """

    def __init__(self, experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan) -> None:
        recipe, train = experiment.recipe, experiment.splits.train
        group = Group((arms[-1].name,), recipe.seeds[:1])
        if plan.group > 1:
            folds = recipe.data.of_seed
            group = make_groups(arms, recipe.seeds, plan.group, folds=folds)[0]
        chosen = [arm for arm in arms if arm.name in group.arms]
        self._experiment = experiment
        self._executor = experiment.executor(chosen, group.seeds, plan)
        size = experiment.step_size
        orders = [batch_order(seed, 1, len(train)) for seed in group.seeds]
        orders = [order[: _MOST_STEPS * size // len(orders) or size] for order in orders]
        batches = self._executor.source(train).batches(orders, size)
        examples = 1 if self._executor.together else 0
        self._batches = [b for b in batches if b[1].shape[examples] == size]
        self._number = 0
        self.members = self._executor.members
        self.captured = plan.captured
        self._executor.model.train()

    def step(self) -> None:
        """Take a training step."""
        self._executor.set_step(self._number)
        self._executor.step(*self._batches[self._number % len(self._batches)])
        self._number += 1

    def score(self, plan: ExecutionPlan) -> None:
        """Score what is scored after an epoch."""
        splits = self._experiment.splits
        with plan.scoring():
            for split, count in ((splits.train, plan.score_train), (splits.validation, 0)):
                self.score_some(split, scored_examples(len(split), count), plan.score_batch)

    def score_some(self, split: AnySplit, order: Tensor, batch_size: int) -> None:
        """Score some examples of a split."""
        self._executor.score(split, order, batch_size=batch_size)

    def logits(self) -> Tensor:
        """Return the logits of the first batch of a replica that trains alone, in eval mode."""
        model, inputs = self._executor.model, self._batches[0][0]
        with evaluating(model), torch.inference_mode():
            return call(model, inputs)
