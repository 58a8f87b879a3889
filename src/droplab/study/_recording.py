"""Whether the steps of an experiment may be recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from droplab.data import Split
from droplab.recipe import Arm
from droplab.study._experiment import Experiment
from droplab.train import EagerStep, ExecutionPlan
from droplab.train.agreement import (
    Member,
    OneByOne,
    comparison_batches,
    why_not_recorded,
    why_not_recorded_together,
)


def why_eager(experiment: Experiment, arms: Sequence[Arm], *, together: bool) -> str:
    """Return why steps of a model of somebody's own may not be recorded; empty if they may.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        together: Whether it is about batched steps, of replicas that may be trained together.
    """
    recipe, train = experiment.recipe, experiment.splits.train
    if not isinstance(train, Split):
        return "the data is streamed"
    arm, seeds = arms[-1], recipe.seeds[: 2 if together else 1]
    task = experiment.task
    batches = comparison_batches(train, seeds, recipe.batch_size)

    def member(seed: int) -> Member:
        replica = experiment.replica(arm, seed)
        return replica.model, replica.optimizer, replica.applied

    if not together:
        with ExecutionPlan(1).active():
            return why_not_recorded(partial(member, seeds[0]), batches, recipe.clip, task)

    def direct() -> OneByOne:
        members = [member(seed) for seed in seeds]
        step = partial(EagerStep, clip=recipe.clip, task=task)
        return OneByOne(members, build=step, task=task)

    population = partial(experiment.population, [arm], seeds)
    with ExecutionPlan(1).active():
        return why_not_recorded_together(population, direct, batches, recipe.clip, task)
