"""A group of replicas in a process of its own: what it does, and what it tells its driver.

The group is trained by the code that trains it in the driver. In place of the run's store and the
observer it has stand-ins, which send what they are told to the driver; only the driver writes.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from droplab.results import BatchRow, EpochRow, Member
from droplab.sweep._experiment import Experiment
from droplab.sweep._group_session import GroupSession
from droplab.sweep._grouping import Group
from droplab.sweep._observer import Observer
from droplab.sweep._worker_pool import begin_worker
from droplab.train import ExecutionPlan, is_out_of_memory

Tell = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class GroupTask:
    """A group to train, with what its worker has to know of the store.

    Attributes:
        group: The group.
        attempt: Counted from 1: a task whose process died is tried again.
        folder: Folder of the run.
        members: State of the group's replicas.
        rows: Rows of the group so far.
        checkpoint: Where to go on from, None for the beginning.
        log_every: Mini-batches whose mean loss is told together.
    """

    group: Group
    attempt: int
    folder: Path
    members: tuple[Member, ...]
    rows: tuple[EpochRow, ...]
    checkpoint: Path | None
    log_every: int


@dataclasses.dataclass(frozen=True)
class GroupMessage:
    """What a worker tells its driver; the driver drops what is of another attempt.

    Attributes:
        group: The group.
        attempt: Attempt of the task.
        kind: For whom: the store, the observer; or how the task ended.
        name: The method that was called; with "error", the traceback.
        arguments: What it was called with.
    """

    group: Group
    attempt: int
    kind: Literal["store", "observer", "memory", "error", "done"]
    name: str = ""
    arguments: tuple[Any, ...] = ()


class RemoteStore:
    """Stands in for the store of a run: reads what the task says, sends what is to be written."""

    def __init__(self, task: GroupTask, tell: Tell) -> None:
        self._task = task
        self._tell = tell
        self.folder = task.folder
        self.checkpoints_folder = task.folder / "checkpoints"

    def members(self) -> tuple[Member, ...]:
        """Return the state of the group's replicas when the task began."""
        return self._task.members

    def rows(self) -> tuple[EpochRow, ...]:
        """Return the group's rows when the task began."""
        return self._task.rows

    def checkpoint(self, arm: str, seed: int) -> Path | None:
        """Return where the group goes on."""
        return self._task.checkpoint

    def set_member_state(self, arm: str, seed: int, state: str, message: str = "") -> None:
        """Send the state of a replica."""
        self._tell("store", "set_member_state", arm, seed, state, message)

    def commit_epochs(
        self,
        rows: Sequence[EpochRow],
        checkpoint: str | None = None,
        batches: Sequence[BatchRow] = (),
    ) -> int:
        """Send rows."""
        self._tell("store", "commit_epochs", tuple(rows), checkpoint, tuple(batches))
        return len(rows)


class RemoteObserver(Observer):
    """Sends the events of a group to the driver."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def group_steps_done(self, members: Sequence[tuple[str, int]], steps: int) -> None:
        self._tell("observer", "group_steps_done", tuple(members), steps)

    def diverged(self, arm: str, seed: int, message: str) -> None:
        self._tell("observer", "diverged", arm, seed, message)

    def batches_logged(self, arm: str, seed: int, step: int, loss: float) -> None:
        self._tell("observer", "batches_logged", arm, seed, step, loss)

    def epoch_done(self, row: EpochRow) -> None:
        self._tell("observer", "epoch_done", row)


def train_group(
    connection: Connection, experiment: Experiment, plan: ExecutionPlan, task: GroupTask
) -> None:
    """Train one group and tell about it; the process ends when its driver does."""
    begin_worker()

    def tell(kind: Any, name: str = "", *arguments: Any) -> None:
        connection.send(GroupMessage(task.group, task.attempt, kind, name, arguments))

    store: Any = RemoteStore(task, tell)
    try:
        GroupSession(experiment, store, plan, task.log_every, RemoteObserver(tell)).train(
            task.group
        )
        tell("done")
    except BaseException as error:
        tell("memory" if is_out_of_memory(error) else "error", traceback.format_exc())
    finally:
        connection.close()
