"""One replica in a process of its own: what the process does, and what it tells its driver."""

from __future__ import annotations

import dataclasses
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from droplab.sweep._experiment import Experiment
from droplab.sweep._replica_work import Task, train_task
from droplab.sweep._worker_pool import begin_worker
from droplab.train import Diverged, ExecutionPlan


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
        for result, checkpoint in train_task(
            experiment,
            plan,
            folder,
            task,
            on_log=lambda step, loss: tell("log", content=(step, loss)),
            on_steps=lambda steps: tell("steps", content=steps),
        ):
            tell("epoch", result.epoch, (result, checkpoint))
        tell("done")
    except Diverged as error:
        tell("nan", error.epoch, str(error))
    except BaseException:
        tell("error", content=traceback.format_exc())
    finally:
        connection.close()
