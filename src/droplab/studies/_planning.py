"""Choosing how a run is executed, by measuring a few steps on this machine."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from droplab.data import Split
from droplab.errors import ArgumentError
from droplab.recipe import Arm, Recipe
from droplab.results import plan_choices, plan_sentence
from droplab.studies._experiment import Experiment
from droplab.studies._layout import choose_layout
from droplab.studies._planner import Planner
from droplab.studies._recording import alike_in_code, why_eager
from droplab.studies._room import group_sizes
from droplab.studies._scoring import choose_scoring
from droplab.studies._stored_plans import plan_key, remember, remembered
from droplab.studies._timed import TimedReplicas
from droplab.train import EagerStep, ExecutionPlan, choose_device
from droplab.train.agreement import (
    OneByOne,
    comparison_batches,
    why_not_elementwise,
    why_not_stacked,
)
from droplab.train.precision import check_precision
from droplab.train.timing import BUSY, Load, wait_for

_LOG = logging.getLogger("droplab.studies")


def choose_plan(
    experiment: Experiment,
    arms: Sequence[Arm] = (),
    *,
    device: str | None = None,
    again: bool = False,
    on_measure: Callable[[], None] | None = None,
) -> ExecutionPlan:
    """Return the fastest execution plan for an experiment on this machine, scoring included.

    How long that may take depends on how long training takes: what trains in seconds is not
    measured at all. The plan is kept in the user's cache directory, and taken from there where
    machine, versions, model, data and options are the same: two runs give the same bits. One that
    was measured while other processes took a good part of the processors is not kept.

    Args:
        experiment: The experiment.
        arms: The arms that are trained; all of them if empty.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one.
        again: Measure even if a plan is kept, and keep the new one.
        on_measure: Called before something is measured.

    Raises:
        ArgumentError: If there is no such device, or it lacks the recipe's precision.
    """
    device, arms = choose_device(device), arms or experiment.recipe.arms
    check_precision(experiment.recipe.precision, device)
    key = plan_key(experiment, arms, device)
    kept = None if again else remembered(key)
    if kept is not None and _still_fits(experiment, arms, kept):
        _LOG.debug("plan known from before: %s", plan_sentence(kept.to_dict()))
        return kept
    if on_measure is not None:
        on_measure()
    load = Load()
    planner = Planner(experiment, arms, device, lambda: why_alone(experiment, arms))
    plan = planner.choose()
    if not planner.at_once:
        plan = choose_layout(experiment, arms, plan)
    plan = choose_scoring(experiment, arms, plan)
    # what trains at once keeps its threads, so that the next run gives the same bits
    plan = dataclasses.replace(plan, others=0.0 if planner.at_once else load.others)
    for row in plan_choices(plan.to_dict()):
        _LOG.debug("plan tried: %s: %s", row.plan, row.step or row.verdict)
    _LOG.debug("plan measured: %s", plan_sentence(plan.to_dict()))
    if plan.others > BUSY:
        _LOG.debug("not kept: other processes took %.0f %% of the processors", 100 * plan.others)
    else:
        remember(key, plan)
    return plan


def check_plan(experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan) -> None:
    """Check that a model of somebody's own can be trained as a plan says.

    Raises:
        ArgumentError: If it cannot.
    """
    check_precision(experiment.recipe.precision, plan.device)
    reason = experiment.why_not_compiled if plan.compiled else ""
    if reason:
        raise ArgumentError(
            f"plan: it compiles its steps, and {reason}; take another plan, or none"
        )
    if experiment.why_apart and plan.group > 1:
        raise ArgumentError(
            f"plan: it trains {plan.group} replicas together, and these cannot be: "
            f"{experiment.why_apart}; take another plan, or none"
        )
    if experiment.is_known:
        return
    reason = why_alone(experiment, arms) if plan.group > 1 else ""
    if reason:
        raise ArgumentError(
            f"plan: it trains {plan.group} replicas together, and this model cannot be: {reason}; "
            "take another plan, or none"
        )
    reason = why_eager(experiment, arms, together=plan.group > 1) if plan.captured else ""
    if reason:
        raise ArgumentError(
            f"plan: its steps are recorded, and those of this model may not be: {reason}; take "
            "another plan, or none"
        )


def _still_fits(experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan) -> bool:
    """Whether a plan that was kept may be followed: memory suffices, and own code still allows it.

    What a model of one's own calls may have changed since, so what was compared then is compared
    again.
    """
    if plan.group > 1:
        sizes = group_sizes(experiment, plan.group, beside=max(1, plan.workers), device=plan.device)
        if not sizes or sizes[0] < plan.group:
            return False
    if experiment.is_known:
        return True
    if plan.group > 1 and why_alone(experiment, arms):
        return False
    return not plan.captured or not why_eager(experiment, arms, together=plan.group > 1)


def why_alone(experiment: Experiment, arms: Sequence[Arm]) -> str:
    """Return why replicas cannot be trained together; empty if they can.

    A few batched steps of two seeds and two arms are compared with the direct ones: see
    `droplab.train.disagreement`. Where arms switch dropout of the model on or off, which is other
    code, each such set of arms is looked at.
    """
    recipe, train = experiment.recipe, experiment.splits.train
    if experiment.why_apart:
        return experiment.why_apart
    if not isinstance(train, Split):
        return "the data is streamed"
    if not isinstance(experiment.splits.validation, Split):
        return "the validation examples are streamed"
    model = experiment.replica(arms[-1], recipe.seeds[0]).model
    reason = why_not_elementwise(experiment.make_optimizer, model)
    if reason:
        return reason
    alike = alike_in_code(experiment, arms)
    each = (_why_apart(exact, _two_arms(same)) for exact in _exactly(experiment) for same in alike)
    return next(filter(None, each), "")


def _exactly(experiment: Experiment) -> list[Experiment]:
    """The experiment; and first, where it computes in bfloat16, the same in float32.

    What is otherwise in a batched step shows in float32, where rounding is small, and whether
    autocast does the same to it in bfloat16.
    """
    if experiment.recipe.precision is None:
        return [experiment]
    recipe = dataclasses.replace(experiment.recipe, precision=None)
    return [dataclasses.replace(experiment, recipe=recipe), experiment]


def _why_apart(experiment: Experiment, pair: Sequence[Arm]) -> str:
    """Return how a batched step of these arms differs from the direct ones; "" if it does not."""
    recipe, train = experiment.recipe, experiment.splits.train
    assert isinstance(train, Split)
    seeds = recipe.seeds[:2]
    population = experiment.population(pair, seeds)
    replicas = [experiment.replica(arm, seed) for seed in seeds for arm in pair]
    members = [(each.model, each.optimizer, each.applied) for each in replicas]
    step = partial(EagerStep, clip=recipe.clip, task=experiment.task)
    direct = OneByOne(members, len(pair), step, experiment.task)
    batches = comparison_batches(train, seeds, recipe.batch_size)
    with ExecutionPlan(1).active():
        return why_not_stacked(direct, population, batches, recipe.clip)


def _two_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The last arm, and another that may be in its group, if there is one."""
    last = arms[-1]
    others = [
        arm
        for arm in arms[:-1]
        if arm.existing == last.existing and (arm.kind == last.kind or not arm.places)
    ]
    return [*others[:1], last]


def fit_budget(
    experiment: Experiment, arms: Sequence[Arm], plan: ExecutionPlan, budget: float, least: int = 1
) -> Recipe:
    """Return the recipe with as many of its seeds as fit `budget` seconds, and at least `least`.

    With folds it is whole repeats.
    """
    recipe = experiment.recipe
    with plan.active():
        trial = TimedReplicas(experiment, arms, plan)
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
            trial.score(plan)
            scoring = perf_counter() - began
        epoch = (training + scoring) / trial.members
    epoch /= max(1, plan.workers)
    fitting = int(budget / (epoch * recipe.epochs * len(arms)))
    repeat = recipe.data.folds or 1
    repeats = max(fitting // repeat, -(-least // repeat))
    return dataclasses.replace(recipe, seeds=recipe.seeds[: repeats * repeat])
