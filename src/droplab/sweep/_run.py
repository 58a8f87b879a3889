"""Running a recipe: every arm and seed, row by row onto the disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from droplab import results
from droplab.errors import RunError
from droplab.recipe import Arm, Recipe, dumps, loads
from droplab.results import BatchRow, RunResult, RunStore, TestRow
from droplab.sweep._experiment import Experiment, Replica, resolve, select
from droplab.sweep._folders import default_folder, file_stem, weights_path
from droplab.sweep._group_session import GroupSession
from droplab.sweep._group_worker_session import GroupWorkerSession
from droplab.sweep._grouping import make_groups
from droplab.sweep._observer import Observer
from droplab.sweep._patch import note_patch
from droplab.sweep._planning import choose_plan, fit_budget
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._worker_session import WorkerSession
from droplab.train import (
    Diverged,
    EpochResult,
    ExecutionPlan,
    choose_device,
    evaluate,
    fit,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from droplab.verdict import choose


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    arms: Sequence[str] | None = None,
    resume: bool = False,
    plan: ExecutionPlan | None = None,
    device: str | None = None,
    budget: float | None = None,
    log_every: int = 0,
    observer: Observer | None = None,
) -> RunResult:
    """Run the experiment that a recipe describes, and return what it measured.

    Replicas are trained together in groups where the model allows it and it is faster, as the plan
    says. Otherwise they are trained seed by seed, all arms of a seed after one another, so that a
    run that was cut short can still be judged on the seeds it finished. Each row is on disk before
    the next epoch begins.

    Args:
        recipe: The recipe.
        out: The run's folder; None chooses `runs/<name>-<digest>` in the working directory.
        arms: Names of the arms to train; None for all.
        resume: Go on with the run in that folder, to the same bits, instead of starting one.
        plan: How steps are executed; None measures a few on this machine. A resumed run replays
            the plan that it began with.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one. A plan that is given has
            its own.
        budget: Seconds that the run may take. The first step is timed, and seeds are left away
            from the end of the recipe's list until the rest fits; one seed is always trained.
        log_every: Keep and report the mean loss of every so many mini-batches of an epoch.
        observer: Told of everything as it happens.

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
    select(recipe, arms)  # a wrong name is told before data is fetched
    return run_experiment(
        resolve(recipe, progress=observer.data_progress),
        out,
        arms=arms,
        resume=resume,
        plan=plan,
        device=device,
        budget=budget,
        log_every=log_every,
        observer=observer,
    )


def run_experiment(
    experiment: Experiment,
    out: str | Path | None = None,
    *,
    arms: Sequence[str] | None = None,
    resume: bool = False,
    plan: ExecutionPlan | None = None,
    device: str | None = None,
    budget: float | None = None,
    log_every: int = 0,
    observer: Observer | None = None,
) -> RunResult:
    """Run an experiment whose names are resolved; the arguments are those of `run`."""
    observer = observer or Observer()
    recipe = experiment.recipe
    chosen = select(recipe, arms)
    folder = Path(out) if out is not None else default_folder(recipe, existing=resume)
    if resume:
        store = RunStore.open_for_resume(folder)
    else:
        plan = plan or choose_plan(experiment, chosen, device=device)
        if budget is not None:
            recipe = fit_budget(experiment, chosen, plan, budget)
            experiment = dataclasses.replace(experiment, recipe=recipe)
        store = _create(experiment, chosen, folder, plan)
    with store:
        if resume:
            recipe = _recipe_of(store, recipe)
            experiment = dataclasses.replace(experiment, recipe=recipe)
        _check_same_data(store, experiment)
        plan = ExecutionPlan.from_dict(store.plan)
        choose_device(plan.device)
        members = {(member.arm, member.seed): member for member in store.members()}
        total = len(members) * recipe.epochs * experiment.steps_an_epoch
        done = sum(m.epochs_done for m in members.values()) * experiment.steps_an_epoch
        observer.started(recipe, store.folder, plan, total, done)
        session = _Session(experiment, store, plan, log_every, observer)
        if plan.group > 1 and plan.workers:
            GroupWorkerSession(experiment, store, plan, log_every, observer).train_all()
        elif plan.group > 1:
            GroupSession(experiment, store, plan, log_every, observer).train_all()
        elif plan.workers:
            WorkerSession(experiment, store, plan, log_every, observer).train_all()
        else:
            for seed in recipe.seeds:
                for arm in recipe.arms:
                    member = members.get((arm.name, seed))
                    if member is not None and member.state != "done":
                        session.train(arm, seed)
        session.test()
        note_patch(experiment, store)
        store.remove_orphans()
    return results.load(folder)


def _create(
    experiment: Experiment, arms: Sequence[Arm], folder: Path, plan: ExecutionPlan
) -> RunStore:
    recipe = experiment.recipe
    members = [(arm.name, seed) for arm in arms for seed in recipe.seeds]
    replica = experiment.replica(arms[0], recipe.seeds[0])
    weights = sum(t.numel() * t.element_size() for t in replica.model.state_dict().values())
    # last and best weights of each replica, two checkpoints at a time, rows, and some room
    results.preflight(folder, weights * (2 * len(members) + 8) + 20_000_000)
    store = RunStore.create(folder, dumps(recipe), recipe.digest, results.environment(), members)
    try:
        groups = make_groups(arms, recipe.seeds, plan.group) if plan.group > 1 else ()
        listed = {"groups": [group.to_list() for group in groups]} if groups else {}
        store.set_plan({**plan.to_dict(), **listed})
        splits = experiment.splits
        sizes = {
            "train": len(splits.train),
            "validation": len(splits.validation),
            "test": len(splits.test) if splits.test is not None else 0,
        }
        parameters = sum(p.numel() for p in replica.model.parameters())
        about = {**experiment.dataset, **sizes, "classes": list(experiment.classes)}
        store.set_note("data", json.dumps(about))
        store.set_note("model", json.dumps({"parameters": parameters, "text": str(replica.model)}))
    except BaseException:
        store.close()
        raise
    return store


def _recipe_of(store: RunStore, recipe: Recipe) -> Recipe:
    """The recipe that the run in `store` follows: `recipe`, or its first seeds under a budget."""
    own = loads(store.recipe_toml)
    count = len(own.seeds)
    if dataclasses.replace(recipe, seeds=recipe.seeds[:count]).digest != own.digest:
        raise RunError(
            f"{store.folder}: was begun with another recipe (digest {own.digest[:12]}, given "
            f"{recipe.digest[:12]}); resume it with its own recipe.toml, or choose a new folder"
        )
    return own


def _check_same_data(store: RunStore, experiment: Experiment) -> None:
    recorded = json.loads(results.load(store.folder).notes.get("data", "{}"))
    if recorded.get("checksum") != experiment.dataset["checksum"]:
        raise RunError(
            f"{store.folder}: the run began on data with checksum {recorded.get('checksum')}, "
            f"and {experiment.dataset['name']} now has {experiment.dataset['checksum']}; put the "
            "old data back, or start a new run"
        )


@dataclasses.dataclass(frozen=True)
class _Session:
    """One driver at work on a run."""

    experiment: Experiment
    store: RunStore
    plan: ExecutionPlan
    log_every: int
    observer: Observer

    def train(self, arm: Arm, seed: int) -> None:
        """Train one replica from where its last checkpoint left it."""
        store, recipe = self.store, self.experiment.recipe
        replica = self.experiment.replica(arm, seed, self.plan.device)
        checkpoint = store.checkpoint(arm.name, seed)
        start = 0
        if checkpoint is not None:
            start = load_checkpoint(replica.model, replica.optimizer, checkpoint)
        store.set_member_state(arm.name, seed, "running")
        logged: list[BatchRow] = []

        def log(step: int, loss: float) -> None:
            logged.append(BatchRow(arm.name, seed, step, loss))
            self.observer.batches_logged(arm.name, seed, step, loss)

        best = self._best_so_far(arm.name, seed, start)
        try:
            for result in self._fit(replica, seed, start, arm.name, log):
                row = row_of(arm.name, seed, result)
                value = goodness(row, recipe.primary)
                if best is None or value > best:
                    best = value
                    save_weights(replica.model, weights_path(store, recipe, arm.name, seed, "best"))
                name = self._checkpoint(replica, arm.name, seed, result.epoch)
                store.commit_epoch(row, name, logged)
                self._forget_checkpoints(arm.name, seed, keep=name)
                logged.clear()
                self.observer.epoch_done(row)
        except Diverged as error:
            store.set_member_state(arm.name, seed, "nan", str(error))
            raise RunError(f"{recipe.name}: arm '{arm.name}', seed {seed}: {error}") from error
        save_weights(replica.model, weights_path(store, recipe, arm.name, seed, "last"))
        store.set_member_state(arm.name, seed, "done")

    def _fit(self, replica: Replica, seed: int, start: int, arm: str, log) -> Iterator[EpochResult]:
        recipe, splits = self.experiment.recipe, self.experiment.splits
        return fit(
            replica.model,
            replica.optimizer,
            replica.applied,
            splits.train,
            splits.validation,
            seed=seed,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            plan=self.plan,
            start=start,
            clip=recipe.clip,
            scheduler=self.experiment.scheduler,
            log_every=self.log_every,
            on_log=log,
            on_steps=lambda steps: self.observer.steps_done(arm, seed, steps),
        )

    def _best_so_far(self, arm: str, seed: int, epochs: int) -> float | None:
        primary = self.experiment.recipe.primary
        values = [
            goodness(row, primary)
            for row in self.store.rows()
            if (row.arm, row.seed) == (arm, seed) and row.epoch <= epochs
        ]
        return max(values, default=None)

    def _checkpoint(self, replica: Replica, arm: str, seed: int, epoch: int) -> str:
        name = f"{file_stem(self.experiment.recipe, arm, seed)}-epoch{epoch}.safetensors"
        path = self.store.checkpoints_folder / name
        save_checkpoint(replica.model, replica.optimizer, path, epoch=epoch)
        return name

    def _forget_checkpoints(self, arm: str, seed: int, *, keep: str) -> None:
        stem = f"{file_stem(self.experiment.recipe, arm, seed)}-epoch"
        for path in self.store.checkpoints_folder.glob(f"{stem}*"):
            if path.name != keep:
                path.unlink()

    def test(self) -> None:
        """Measure the baseline and the chosen arm on the test split, once."""
        recipe, split = self.experiment.recipe, self.experiment.splits.test
        members = self.store.members()
        if split is None or any(member.state in ("waiting", "running") for member in members):
            return
        trained = {member.arm for member in members}
        baseline = recipe.baseline.name
        if baseline not in trained or len(trained) < 2:
            return
        done = {(row.arm, row.seed) for row in self.store.tests()}
        best = choose(self.store.rows(), recipe, members)
        sound = {(member.arm, member.seed) for member in members if member.state == "done"}
        for arm in (baseline, best) if best is not None else ():
            for seed in recipe.seeds:
                if (arm, seed) in done or (arm, seed) not in sound:
                    continue
                model = self.experiment.replica(recipe.arm(arm), seed).model
                load_weights(model, weights_path(self.store, recipe, arm, seed, "last"))
                with self.plan.active():
                    score = evaluate(model, split)
                row = TestRow(arm, seed, score.loss, score.accuracy, score.ece)
                self.store.add_test_row(row)
                self.observer.tested(row)
