"""Whether the steps of an experiment may be recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from droplab.data import Split
from droplab.recipe import Arm
from droplab.studies._experiment import Experiment
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
    if not isinstance(experiment.splits.train, Split):
        return "the data is streamed"
    each = (
        _why_eager(experiment, same[-1], together=together)
        for same in alike_in_code(experiment, arms)
    )
    return next(filter(None, each), "")


def alike_in_code(experiment: Experiment, arms: Sequence[Arm]) -> list[list[Arm]]:
    """Arms by which of the model's own rates are above 0: where one is 0, other code may run."""
    found: dict[frozenset[str], list[Arm]] = {}
    for arm in arms:
        found.setdefault(frozenset(experiment.own.rates(arm.name)), []).append(arm)
    return list(found.values())


def _why_eager(experiment: Experiment, arm: Arm, *, together: bool) -> str:
    recipe, train = experiment.recipe, experiment.splits.train
    assert isinstance(train, Split)
    seeds = recipe.seeds[: 2 if together else 1]
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
