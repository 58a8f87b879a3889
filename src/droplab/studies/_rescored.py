"""The trained replicas of a run, measured on other examples than it was judged on."""

from __future__ import annotations

from collections.abc import Mapping

from droplab.recipe import Recipe
from droplab.results import RunResult
from droplab.studies._experiment import Experiment
from droplab.studies._folders import weights_path_in
from droplab.train import ExecutionPlan, evaluate
from droplab.train.checkpoint import load_weights


def rescored(
    result: RunResult, experiment: Experiment
) -> Mapping[tuple[str, int], Mapping[str, float]]:
    """Return what the last weights of each replica reach on an experiment's validation examples.

    Args:
        result: The run, whose weights are in its folder.
        experiment: The same model and arms, with the examples to measure on.

    Returns:
        For each (arm, seed) that is done: metric -> number, of the metrics of validation examples.
    """
    plan = ExecutionPlan.from_dict(result.plan)
    found: dict[tuple[str, int], Mapping[str, float]] = {}
    for member in result.members:
        if member.state != "done":
            continue
        found[member.arm, member.seed] = _one(
            result.recipe, result, experiment, member.arm, member.seed, plan
        )
    return found


def _one(
    recipe: Recipe,
    result: RunResult,
    experiment: Experiment,
    arm: str,
    seed: int,
    plan: ExecutionPlan,
) -> dict[str, float]:
    replica = experiment.replica(recipe.arm(arm), seed, channels_last=plan.channels_last)
    load_weights(replica.model, weights_path_in(result.path, recipe, arm, seed, "last"))
    split = experiment.splits.validation
    with plan.active(), plan.scoring():
        score = evaluate(replica.model, split, batch_size=plan.score_batch, task=experiment.task)
    return {
        name: score[name.removeprefix("val_")]
        for name in recipe.metrics
        if name.removeprefix("val_") in score and name.startswith("val_")
    }
