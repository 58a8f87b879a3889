"""How replicas are scored after an epoch: on how many examples, and how many at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from time import perf_counter

import torch
from torch import nn

from droplab.data import Split
from droplab.recipe import SCORE_TRAIN, Arm
from droplab.studies._experiment import Experiment
from droplab.studies._timed import TimedReplicas
from droplab.train import ExecutionPlan
from droplab.train.scoring import EVAL_BATCH
from droplab.train.timing import Stopwatch, usable_threads

_SIZES = (128, 256, 512, EVAL_BATCH)
"""Batches to compare: what a convolution makes of the small ones stays in the caches, and the large
ones have fewer calls."""

_CONVOLUTIONAL = 256
"""The batch of networks with convolutions where the run is too short to compare."""

_PROBE = 16
"""Examples whose time says which sizes are worth comparing."""

_LONGEST = 0.4
"""Seconds that one batch may take while sizes are compared; such a model is as fast in small ones.
"""

_SECONDS = 0.3
"""About how long sizes are compared, in turns."""

_SHARE = 0.1
"""The part of all scoring that comparing may take at most."""

_GAIN = 0.95
"""What another size than the usual one must save at least, so that noise does not decide."""


def with_recipe(plan: ExecutionPlan, experiment: Experiment) -> ExecutionPlan:
    """Return the plan with as many training examples to score as the recipe says."""
    wanted, count = experiment.recipe.score_train, len(experiment.splits.train)
    limit = SCORE_TRAIN if wanted is None else wanted
    score_train = limit if isinstance(limit, int) and limit < count else 0
    return dataclasses.replace(plan, score_train=score_train)


def scored_an_epoch(experiment: Experiment) -> int:
    """Return how many examples a replica is scored on after an epoch."""
    plan, splits = with_recipe(ExecutionPlan(1), experiment), experiment.splits
    return (plan.score_train or len(splits.train)) + len(splits.validation)


def choose_scoring(
    experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan
) -> ExecutionPlan:
    """Return the plan with the batch size and the threads that score fastest on this machine.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        plan: How replicas are trained, and so how they are scored: alone or in groups.
    """
    plan, recipe, splits = with_recipe(plan, experiment), experiment.recipe, experiment.splits
    # what is streamed takes longer to read than to score, and a GPU has no such caches
    if plan.device != "cpu" or not isinstance(splits.train, Split):
        return plan
    model = experiment.replica(recipe.baseline, recipe.seeds[0]).model
    convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
    usual = _CONVOLUTIONAL if convolutional else EVAL_BATCH
    scored = scored_an_epoch(experiment) * recipe.epochs * len(arms) * len(recipe.seeds)
    if scored * _SHARE < 2 * sum(_SIZES) * plan.group:
        return dataclasses.replace(plan, score_batch=usual)
    trial = TimedReplicas(experiment, arms, plan)
    cost: dict[tuple[int, int], float] = {}

    def measure(size: int, threads: int = plan.threads) -> float:
        order = torch.arange(min(size, len(splits.train)))
        watch = Stopwatch(dataclasses.replace(plan, threads=threads))
        trial.score_some(splits.train, order, size)
        seconds = watch.own / len(order)
        cost[size, threads] = min(cost.get((size, threads), seconds), seconds)
        return cost[size, threads]

    more = 0 if plan.workers else usable_threads()
    counts = [plan.threads, more] if more > plan.threads else [plan.threads]
    with plan.active():
        probe = min(measure(_PROBE) for _ in range(3))
        sizes = [size for size in _SIZES if size * probe < _LONGEST] or [_SIZES[0]]
        seconds = min(_SECONDS, _SHARE * probe * scored / trial.members)
        until, rounds = perf_counter() + seconds, 0
        while len(sizes) > 1 and (rounds < 2 or perf_counter() < until):
            for threads in counts:
                with dataclasses.replace(plan, score_threads=threads).scoring():
                    for size in sizes:
                        measure(size, threads)
            rounds += 1
    ways = [(size, threads) for threads in counts for size in sizes]
    best = min(ways, key=lambda way: cost.get(way, 0.0)) if len(sizes) > 1 else ways[0]
    plain = (usual if usual in sizes else best[0]), plan.threads
    if plain in cost and cost[best] > _GAIN * cost[plain]:
        best = plain
    size, threads = best
    own = 0 if threads == plan.threads else threads
    return dataclasses.replace(plan, score_batch=size, score_threads=own)
