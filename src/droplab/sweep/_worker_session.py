"""Replicas in worker processes, for models that cannot be trained together."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

from droplab.data import Split
from droplab.errors import RunError
from droplab.results import BatchRow
from droplab.sweep._experiment import Experiment
from droplab.sweep._replica_work import Task, commit, next_task
from droplab.sweep._session import Session
from droplab.sweep._worker import Message, train_replica
from droplab.sweep._worker_pool import ATTEMPTS, WorkerPool

Name = tuple[str, int]


def can_send(experiment: Experiment) -> bool:
    """Whether an experiment can be handed to another process.

    What is defined in the caller's main module or inside a function cannot; and data that is
    streamed stays with the driver.
    """
    splits = experiment.splits
    if not isinstance(splits.train, Split) or not isinstance(splits.validation, Split):
        return False
    try:
        sent = pickle.dumps((experiment.build, experiment.make_optimizer))
    except Exception:  # whatever somebody's objects do when they are pickled
        return False
    return b"__main__" not in sent


@dataclasses.dataclass
class WorkerSession(Session):
    """Trains in `plan.workers` processes at a time, each with one replica."""

    def __post_init__(self) -> None:
        self._pool = WorkerPool[Task](train_replica, self.plan.workers)
        self._logged: dict[Name, list[BatchRow]] = {}

    def train_all(self) -> None:
        """Train every replica that is not done.

        Raises:
            RunError: If a worker failed, or the loss of every replica became NaN.
        """
        recipe = self.experiment.recipe
        states = {(m.arm, m.seed): m.state for m in self.store.members()}
        waiting = [
            next_task(self, arm.name, seed)
            for seed in recipe.seeds
            for arm in recipe.arms
            if states.get((arm.name, seed)) in ("waiting", "running")
        ]
        self._pool.run(waiting, arguments=self._begin, take=self._take, lost=self._again)
        self.check_survivors()

    def _begin(self, task: Task) -> tuple[Any, ...]:
        self.store.set_member_state(task.arm, task.seed, "running")
        self._logged[task.arm, task.seed] = []
        return self.experiment, self.plan, self.store.folder, task

    def _again(self, task: Task, code: int | None) -> list[Task]:
        if task.attempt >= ATTEMPTS:
            raise RunError(
                f"{self.experiment.recipe.name}: the worker of arm '{task.arm}', seed "
                f"{task.seed} died {task.attempt} times (exit code {code}); finished epochs are "
                "kept, look for a lack of memory and resume"
            )
        return [next_task(self, task.arm, task.seed, task.attempt + 1)]

    def _take(self, task: Task, message: Message) -> bool:
        store, observer = self.store, self.observer
        arm, seed = task.arm, task.seed
        logged = self._logged[arm, seed]
        if (message.arm, message.seed, message.attempt) != (arm, seed, task.attempt):
            return False
        if message.kind == "steps":
            observer.steps_done(arm, seed, message.content)
        elif message.kind == "log":
            logged.append(BatchRow(arm, seed, *message.content))
            observer.batches_logged(arm, seed, *message.content)
        elif message.kind == "epoch":
            result, checkpoint = message.content
            commit(self, task, result, checkpoint, logged)
        elif message.kind == "nan":
            store.set_member_state(arm, seed, "nan", message.content)
            observer.diverged(arm, seed, message.content)
        elif message.kind == "done":
            store.set_member_state(arm, seed, "done")
        elif message.kind == "error":
            # the whole traceback is for who looks into the run; people get its last line
            store.set_member_state(arm, seed, "waiting", message.content)
            reason = message.content.strip().splitlines()[-1]
            raise RunError(
                f"{self.experiment.recipe.name}: arm '{arm}', seed {seed} failed in its worker "
                f"({reason}); finished epochs are kept"
            )
        return message.kind in ("done", "nan")
