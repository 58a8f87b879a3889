"""Replicas in worker processes, for models that cannot be trained together."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import pickle
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import torch.multiprocessing  # noqa: F401 # teaches pickle to send tensors as shared memory

from droplab.data import Split
from droplab.errors import RunError
from droplab.results import BatchRow, RunStore
from droplab.sweep._experiment import Experiment
from droplab.sweep._observer import Observer
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._worker import Message, Task, checkpoint_name, train_replica
from droplab.train import ExecutionPlan

_ATTEMPTS = 2
"""How often a replica is begun whose process dies: a second time in case it was killed."""

Name = tuple[str, int]


def can_send(experiment: Experiment) -> bool:
    """Whether an experiment can be handed to another process.

    What is defined in the caller's main module or inside a function cannot; and data that is
    streamed stays with the driver.
    """
    if not isinstance(experiment.splits.train, Split):
        return False
    try:
        sent = pickle.dumps((experiment.build, experiment.make_optimizer))
    except Exception:  # whatever somebody's objects do when they are pickled
        return False
    return b"__main__" not in sent


@dataclasses.dataclass
class _Running:
    """A worker at its task."""

    task: Task
    process: BaseProcess
    connection: Connection
    logged: list[BatchRow]
    finished: bool = False


class WorkerSession:
    """One driver, which alone writes the store, and its workers.

    Args:
        experiment: What is trained.
        store: The run.
        plan: How; `plan.workers` processes, one replica each, at a time.
        log_every: Mini-batches whose mean loss is kept together.
        observer: Told of everything as it happens.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: RunStore,
        plan: ExecutionPlan,
        log_every: int,
        observer: Observer,
    ) -> None:
        self._experiment = experiment
        self._store = store
        self._plan = plan
        self._log_every = log_every
        self._observer = observer
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(["droplab.sweep._worker"])
        self._running: list[_Running] = []

    def train_all(self) -> None:
        """Train every replica that is not done.

        Raises:
            RunError: If a worker failed, or the loss of every replica became NaN.
        """
        recipe = self._experiment.recipe
        states = {(m.arm, m.seed): m.state for m in self._store.members()}
        waiting = [
            self._task(arm.name, seed, 1)
            for seed in recipe.seeds
            for arm in recipe.arms
            if states.get((arm.name, seed)) in ("waiting", "running")
        ]
        waiting.reverse()
        try:
            while waiting or self._running:
                while waiting and len(self._running) < max(1, self._plan.workers):
                    self._start(waiting.pop())
                again = self._listen()
                waiting += again
        finally:
            for worker in self._running:
                worker.process.terminate()
            for worker in self._running:
                worker.process.join()
                worker.connection.close()
        members = self._store.members()
        if members and all(member.state == "nan" for member in members):
            first = members[0]
            raise RunError(
                f"{recipe.name}: no replica could be trained; arm '{first.arm}', seed "
                f"{first.seed}: {first.message}"
            )

    def _task(self, arm: str, seed: int, attempt: int) -> Task:
        checkpoint = self._store.checkpoint(arm, seed)
        primary = self._experiment.recipe.primary
        rows = [row for row in self._store.rows() if (row.arm, row.seed) == (arm, seed)]
        best = max((goodness(row, primary) for row in rows), default=float("-inf"))
        return Task(arm, seed, attempt, checkpoint, best, self._log_every)

    def _start(self, task: Task) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (sender, self._experiment, self._plan, self._store.folder, task)
        process = self._context.Process(
            target=train_replica, args=arguments, name=f"droplab {task.arm} {task.seed}"
        )
        with _no_main_module():
            process.start()
        sender.close()
        self._store.set_member_state(task.arm, task.seed, "running")
        self._running.append(_Running(task, process, receiver, []))

    def _listen(self) -> list[Task]:
        """Take what workers tell; return the tasks to begin again."""
        again: list[Task] = []
        ready = wait([worker.connection for worker in self._running])
        for worker in [each for each in self._running if each.connection in ready]:
            try:
                self._take(worker, worker.connection.recv())
            except EOFError:
                self._running.remove(worker)
                worker.connection.close()
                worker.process.join()
                if not worker.finished:
                    again.append(self._again(worker))
        return again

    def _again(self, worker: _Running) -> Task:
        task = worker.task
        if task.attempt >= _ATTEMPTS:
            raise RunError(
                f"{self._experiment.recipe.name}: the worker of arm '{task.arm}', seed "
                f"{task.seed} died {task.attempt} times (exit code {worker.process.exitcode}); "
                "finished epochs are kept, look for a lack of memory and resume"
            )
        return self._task(task.arm, task.seed, task.attempt + 1)

    def _take(self, worker: _Running, message: Message) -> None:
        task, store, observer = worker.task, self._store, self._observer
        arm, seed = task.arm, task.seed
        if (message.arm, message.seed, message.attempt) != (arm, seed, task.attempt):
            return
        if message.kind == "steps":
            observer.steps_done(arm, seed, message.content)
        elif message.kind == "log":
            worker.logged.append(BatchRow(arm, seed, *message.content))
            observer.batches_logged(arm, seed, *message.content)
        elif message.kind == "epoch":
            result, name = message.content
            row = row_of(arm, seed, result)
            store.commit_epoch(row, name, worker.logged)
            worker.logged.clear()
            before = checkpoint_name(self._experiment, arm, seed, message.epoch - 1)
            (store.checkpoints_folder / before).unlink(missing_ok=True)
            observer.epoch_done(row)
        elif message.kind == "nan":
            worker.finished = True
            store.set_member_state(arm, seed, "nan", message.content)
            observer.diverged(arm, seed, message.content)
        elif message.kind == "done":
            worker.finished = True
            store.set_member_state(arm, seed, "done")
        else:
            # the whole traceback is for who looks into the run; people get its last line
            store.set_member_state(arm, seed, "waiting", message.content)
            reason = message.content.strip().splitlines()[-1]
            raise RunError(
                f"{self._experiment.recipe.name}: arm '{arm}', seed {seed} failed in its worker "
                f"({reason}); finished epochs are kept"
            )


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep a new process from running the caller's script, which has no guard as a rule."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
