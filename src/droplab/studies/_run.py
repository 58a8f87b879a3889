"""Running a recipe: every arm and seed, row by row onto the disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from droplab import results
from droplab.data import Split
from droplab.errors import ArgumentError, RunError
from droplab.recipe import BLOCKS, Arm, Recipe, dumps
from droplab.results import RunResult, RunStore
from droplab.studies._code import code_of
from droplab.studies._describe import arms_as_placed, class_counts, constant_answer, own_dropout
from droplab.studies._experiment import Experiment
from droplab.studies._folders import default_folder
from droplab.studies._forecast import forecast
from droplab.studies._grouping import make_groups
from droplab.studies._observer import Observer
from droplab.studies._patch import note_patch
from droplab.studies._planning import check_plan, choose_plan, fit_budget
from droplab.studies._resolve import resolve
from droplab.studies._resume import (
    check_same_arms,
    check_same_code,
    check_same_data,
    check_same_device,
    has_blocks,
    own_recipe,
)
from droplab.studies._scoring import with_recipe
from droplab.studies._session import Session
from droplab.studies._stored_plans import PLAN_FILE, write_plan
from droplab.studies.cluster import RayCluster
from droplab.train import ExecutionPlan, choose_device
from droplab.train.compiled import compiler

_LOG = logging.getLogger("droplab.studies")


def run(
    recipe: Recipe | Experiment,
    out: str | Path | None = None,
    *,
    arms: Sequence[str] | None = None,
    resume: bool = False,
    changed_code: bool = False,
    plan: ExecutionPlan | None = None,
    measure: bool = False,
    device: str | None = None,
    budget: float | None = None,
    least_seeds: int = 1,
    until: int | None = None,
    cluster: RayCluster | None = None,
    log_every: int = 0,
    observer: Observer | None = None,
    command: str = "",
) -> RunResult:
    """Run the experiment that a recipe describes, and return what it measured.

    Replicas are trained together in groups where the model allows it and it is faster, as the plan
    says. Otherwise they are trained seed by seed, all arms of a seed after one another, so that a
    run that was cut short can still be judged on the seeds it finished. Each row is on disk before
    the next epoch begins.

    Args:
        recipe: The recipe, or an experiment of `droplab.studies.resolve`, whose names are resolved.
        out: The run's folder; None chooses `runs/<name>-<digest>` in the working directory.
        arms: Names of the arms to train; None for all, or for those that a resumed run has.
        resume: Go on with the run in that folder, to the same bits, instead of starting one. What
            it began with must be the same: recipe, arms, device, data, and the code behind them.
        changed_code: Resume although your source, or a version of torch or droplab, has changed
            since the run began. The verdict then says that the rows are of both.
        plan: How steps are executed; None measures a few on this machine, or takes what was
            measured for a run like this one before. A resumed run replays the plan that it began
            with.
        measure: Measure even if a plan is known from before.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one. A plan that is given has
            its own.
        budget: Seconds that the run may take. The first step is timed, and seeds are left away
            from the end of the recipe's list until the rest fits.
        least_seeds: How many seeds are trained even if they do not fit the budget.
        until: The epoch after which replicas stop, to go on when the run is resumed; the learning
            rate is that of the whole run. With `resume`, `arms` may then be some of the run's, and
            the others are left where they are. None: the last one.
        cluster: Whose processes train, each with one group of replicas at a time; None for this
            machine's. The plan then has that many workers, and groups that keep them all busy.
        log_every: Keep and report the mean loss of every so many mini-batches of an epoch.
        observer: Told of everything as it happens.
        command: The command line that makes this run again, to be kept with it; "" for none.

    Returns:
        The result, read back from the folder.

    Raises:
        ArgumentError: If the recipe does not fit the model, the data or torch.
        DataError: If the data cannot be had.
        PlacementError: If a planned site did not fire in the first step.
        RunError: If the folder cannot be used, or a loss became NaN; finished rows are kept. Of
            replicas that are trained together, one with a NaN is marked and the others go on,
            unless there are none.

    Example:
        >>> import tempfile
        >>> from droplab.recipe import load, override
        >>> recipe = override(load("digits"), {"epochs": 1, "seeds": [0]})
        >>> with tempfile.TemporaryDirectory() as place:
        ...     len(run(recipe, place, arms=["none"]).rows)
        1
    """
    observer = observer or Observer()
    if changed_code and not resume:
        raise ArgumentError("changed_code (--changed-code): goes with a run to resume (--resume)")
    if isinstance(recipe, Experiment):
        experiment = recipe
    else:
        recipe.selected(arms)  # a wrong name is told before data is fetched
        experiment = resolve(recipe, progress=observer.data_progress)
    for note in experiment.splits.notes:
        observer.noted(note)
    recipe = experiment.recipe
    if until is not None and not 1 <= until <= recipe.epochs:
        raise ArgumentError(f"until: expected an epoch from 1 to {recipe.epochs}, got {until}")
    chosen = recipe.selected(arms)
    folder = Path(out) if out is not None else default_folder(recipe, existing=resume)
    if cluster is not None and not isinstance(experiment.splits.train, Split):
        raise ArgumentError(
            "executor: expected data that can be sent to a cluster, got data that is streamed; "
            "keep it in memory, or train on this machine"
        )
    with contextlib.nullcontext() if cluster is None else cluster.connected():
        if resume:
            store = RunStore.open_for_resume(folder)
        else:
            results.check_place(folder)  # before anything is measured
            if plan is not None:
                if recipe.data.of_seed:  # the replicas of a seed, at most
                    plan = dataclasses.replace(plan, group=min(plan.group, len(chosen)))
                check_plan(experiment, chosen, plan)
            given = plan is not None
            plan = plan or choose_plan(
                experiment, chosen, device=device, again=measure, on_measure=observer.planning
            )
            plan = with_recipe(plan, experiment)
            if cluster is not None and not given:
                plan = cluster.plan(plan, len(chosen) * len(recipe.seeds))
            if budget is not None:
                recipe = fit_budget(experiment, chosen, plan, budget, least_seeds)
            if not given:
                observer.expected(forecast(experiment, chosen, plan, seeds=len(recipe.seeds)))
            asked = experiment.recipe.seeds
            experiment = dataclasses.replace(experiment, recipe=recipe)
            store = _create(experiment, chosen, folder, plan, asked, command)
        with store:
            plan = ExecutionPlan.from_dict(store.plan)
            if resume:
                check_same_arms(store, arms, some=until is not None)
                recipe = own_recipe(store, recipe)
                experiment = dataclasses.replace(experiment, recipe=recipe)
                check_same_device(store, plan.device, device)
                check_same_data(store, experiment)
                check_same_code(store, experiment, changed_code=changed_code)
                experiment = dataclasses.replace(experiment, blocks=has_blocks(store))
            choose_device(plan.device)
            if plan.compiled and compiler() is None:
                raise RunError(
                    f"{store.folder}: the steps of this run are compiled, and there is no C "
                    "compiler here: expected cc, gcc or clang on the path, or one in CC. Install "
                    "one, or begin the run anew with another --out"
                )
            going = None if until is None else {arm.name for arm in chosen}
            members = [each for each in store.members() if going is None or each.arm in going]
            steps = {seed: experiment.of_seeds([seed]).steps_an_epoch for seed in recipe.seeds}
            total = sum((until or recipe.epochs) * steps[each.seed] for each in members)
            done = sum(
                min(each.epochs_done, until or recipe.epochs) * steps[each.seed] for each in members
            )
            if resume:
                _LOG.debug("%s is resumed: %d of %d steps were kept", store.folder, done, total)
            observer.started(recipe, store.folder, plan, total, done)
            session = Session(experiment, store, plan, log_every, observer, cluster, going, until)
            session.train_all()
            session.test()
            note_patch(experiment, store)
            store.remove_orphans()
    return results.load(folder)


def _create(
    experiment: Experiment,
    arms: Sequence[Arm],
    folder: Path,
    plan: ExecutionPlan,
    asked_seeds: Sequence[int],
    command: str,
) -> RunStore:
    recipe = experiment.recipe
    members = [(arm.name, seed) for arm in arms for seed in recipe.seeds]
    replica = experiment.replica(arms[0], recipe.seeds[0])
    weights = sum(t.numel() * t.element_size() for t in replica.model.state_dict().values())
    # last and best weights of each replica, two checkpoints at a time, rows, a metric and a weight
    # of each validation example, and some room
    examples = 8 * len(members) * len(experiment.splits.validation) * experiment.blocks
    results.preflight(folder, weights * (2 * len(members) + 8) + examples + 20_000_000)
    folds, groups = recipe.data.of_seed, ()
    if plan.group > 1:
        groups = make_groups(arms, recipe.seeds, plan.group, folds=folds)
    listed = {"groups": [group.to_list() for group in groups]} if groups else {}
    splits = experiment.splits
    sizes = {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test) if splits.test is not None else 0,
    }
    if recipe.data.folds is not None:
        held = () if splits.stopping is None else splits.stopping
        sizes["folded"] = len(splits.train) + len(splits.validation) + len(held)
    if experiment.blocks:
        sizes["blocks"] = BLOCKS
    parameters = sum(p.numel() for p in replica.model.parameters())
    counts = class_counts(splits, len(experiment.classes))
    about = {
        **experiment.dataset,
        **sizes,
        "classes": list(experiment.classes),
        **counts,
        "validated_on": splits.validated_on,
        "notes": list(splits.notes),
    }
    notes = {
        "data": json.dumps(about),
        "dropout": json.dumps(own_dropout(experiment)),
        "model": json.dumps({"parameters": parameters, "text": str(replica.model)}),
        "code": code_of(experiment).to_json(),
    }
    if constant := constant_answer(experiment):
        notes["constant"] = json.dumps(constant)
    if placed := arms_as_placed(experiment):
        notes["arms"] = json.dumps(placed)
    if command:
        notes["command"] = command
    if recipe.seeds != tuple(asked_seeds):
        notes["budget"] = json.dumps({"seeds": list(asked_seeds)})
    store = RunStore.create(
        folder,
        dumps(recipe),
        recipe.digest,
        results.environment(),
        members,
        plan={**plan.to_dict(), **listed},
        notes=notes,
        metrics=recipe.metrics.values(),
        test_metrics=recipe.test_metrics.values(),
    )
    with contextlib.suppress(RunError):  # the store has it as well
        write_plan(store.folder / PLAN_FILE, plan)
    return store
