"""One replica in a process of its own: what the process does, and what it tells its driver."""

from __future__ import annotations

import dataclasses
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from droplab.sweep._experiment import Experiment
from droplab.sweep._folders import file_stem, weights_path_in
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._worker_pool import begin_worker
from droplab.train import (
    Diverged,
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
        best: The best value of the primary metric up to there, larger being better.
        log_every: Mini-batches whose mean loss is told together.
    """

    arm: str
    seed: int
    attempt: int
    checkpoint: Path | None
    best: float
    log_every: int


@dataclasses.dataclass(frozen=True)
class Message:
    """What a worker tells its driver; the driver drops what is of another attempt.

    Attributes:
        arm: Name of the arm.
        seed: The seed.
        attempt: Attempt of the task.
        epoch: Epoch it is about, 0 if none.
        kind: What happened.
        content: An `EpochResult` with the name of its checkpoint; steps; a logged loss; a text.
    """

    arm: str
    seed: int
    attempt: int
    epoch: int
    kind: Literal["steps", "log", "epoch", "nan", "done", "error"]
    content: Any = None


def train_replica(
    connection: Connection, experiment: Experiment, plan: ExecutionPlan, folder: Path, task: Task
) -> None:
    """Train one replica and tell about it; the process ends when its driver does."""
    begin_worker()

    def tell(kind: Any, epoch: int = 0, content: Any = None) -> None:
        connection.send(Message(task.arm, task.seed, task.attempt, epoch, kind, content))

    try:
        _train(experiment, plan, folder, task, tell)
        tell("done")
    except Diverged as error:
        tell("nan", error.epoch, str(error))
    except BaseException:
        tell("error", content=traceback.format_exc())
    finally:
        connection.close()


def _train(
    experiment: Experiment, plan: ExecutionPlan, folder: Path, task: Task, tell: Any
) -> None:
    recipe, splits = experiment.recipe, experiment.splits
    replica = experiment.replica(recipe.arm(task.arm), task.seed, plan.device)
    start, best = 0, task.best
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
        on_log=lambda step, loss: tell("log", content=(step, loss)),
        on_steps=lambda steps: tell("steps", content=steps),
    )
    for result in results:
        value = goodness(row_of(task.arm, task.seed, result), recipe.primary)
        if value > best:
            best = value
            path = weights_path_in(folder, recipe, task.arm, task.seed, "best")
            save_weights(replica.model, path)
        name = checkpoint_name(experiment, task.arm, task.seed, result.epoch)
        path = folder / "checkpoints" / name
        save_checkpoint(replica.model, replica.optimizer, path, epoch=result.epoch)
        content: tuple[EpochResult, str] = (result, name)
        tell("epoch", result.epoch, content)
    save_weights(replica.model, weights_path_in(folder, recipe, task.arm, task.seed, "last"))


def checkpoint_name(experiment: Experiment, arm: str, seed: int, epoch: int) -> str:
    """Return the name of a replica's checkpoint, as in a run without workers."""
    return f"{file_stem(experiment.recipe, arm, seed)}-epoch{epoch}.safetensors"
