"""The work on one replica that is trained by itself, in the driver or in a worker process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from droplab.results import BatchRow
from droplab.sweep._experiment import Experiment, Replica
from droplab.sweep._folders import checkpoint_name, weights_path_in
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._session import Session
from droplab.train import (
    EpochResult,
    ExecutionPlan,
    fit,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A replica to train.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        attempt: Counted from 1: a task whose process died is tried again.
        checkpoint: Where to go on from, None for the beginning.
        best: The best value of the primary metric up to there, larger being better; None before
            the first epoch.
        log_every: Mini-batches whose mean loss is told together.
    """

    arm: str
    seed: int
    attempt: int
    checkpoint: Path | None
    best: float | None
    log_every: int


def next_task(session: Session, arm: str, seed: int, attempt: int = 1) -> Task:
    """Return what is left to do for a replica, from its last checkpoint on."""
    store, primary = session.store, session.experiment.recipe.primary
    rows = [row for row in store.rows() if (row.arm, row.seed) == (arm, seed)]
    best = max((goodness(row, primary) for row in rows), default=None)
    return Task(arm, seed, attempt, store.checkpoint(arm, seed), best, session.log_every)


def train_task(
    experiment: Experiment,
    plan: ExecutionPlan,
    folder: Path,
    task: Task,
    *,
    on_log: Callable[[int, float], None],
    on_steps: Callable[[int], None],
) -> Iterator[tuple[EpochResult, str]]:
    """Make a replica as its checkpoint left it, and return an iterator that trains it.

    The replica is made at once, so that one whose checkpoint cannot be read never counts as begun.

    Args:
        experiment: What is trained.
        plan: How.
        folder: Folder of the run.
        task: Which replica, and from where.
        on_log: Called with (steps done, mean loss of the last `task.log_every` mini-batches).
        on_steps: Called now and then with the number of steps done since the last call.

    Returns:
        After each epoch what it measured, and the name of its checkpoint. Checkpoint and best
        weights are on disk by then; the last weights are at the end.

    Raises:
        RunError: If the checkpoint cannot be read.
        Diverged: From the iterator, if the loss becomes NaN or infinite.
    """
    recipe, splits = experiment.recipe, experiment.splits
    replica = experiment.replica(
        recipe.arm(task.arm), task.seed, plan.device, channels_last=plan.channels_last
    )
    start = 0
    if task.checkpoint is not None:
        start = load_checkpoint(replica.model, replica.optimizer, task.checkpoint)
    results = fit(
        replica.model,
        replica.optimizer,
        replica.applied,
        splits.train,
        splits.validation,
        seed=task.seed,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        plan=plan,
        start=start,
        clip=recipe.clip,
        scheduler=experiment.scheduler,
        log_every=task.log_every,
        on_log=on_log,
        on_steps=on_steps,
    )
    return _saved(results, experiment, folder, task, replica)


def _saved(
    results: Iterator[EpochResult],
    experiment: Experiment,
    folder: Path,
    task: Task,
    replica: Replica,
) -> Iterator[tuple[EpochResult, str]]:
    """Save weights and a checkpoint for each result, and pass it on with the checkpoint's name."""
    recipe, arm, seed, best = experiment.recipe, task.arm, task.seed, task.best
    for result in results:
        value = goodness(row_of(arm, seed, result), recipe.primary)
        if best is None or value > best:
            best = value
            save_weights(replica.model, weights_path_in(folder, recipe, arm, seed, "best"))
        name = checkpoint_name(recipe, arm, seed, result.epoch)
        path = folder / "checkpoints" / name
        save_checkpoint(replica.model, replica.optimizer, path, epoch=result.epoch)
        yield result, name
    save_weights(replica.model, weights_path_in(folder, recipe, arm, seed, "last"))


def commit(
    session: Session, task: Task, result: EpochResult, checkpoint: str, logged: list[BatchRow]
) -> None:
    """Confirm an epoch with its checkpoint and what was logged, which is then forgotten.

    The checkpoint before is removed after that: what the store points to is always there.
    """
    store, row = session.store, row_of(task.arm, task.seed, result)
    store.commit_epoch(row, checkpoint, logged)
    logged.clear()
    before = checkpoint_name(session.experiment.recipe, task.arm, task.seed, result.epoch - 1)
    (store.checkpoints_folder / before).unlink(missing_ok=True)
    session.observer.epoch_done(row)
