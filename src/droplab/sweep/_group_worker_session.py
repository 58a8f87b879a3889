"""Groups of replicas in worker processes, one thread each.

On a few cores this beats one process whose operations are divided among threads: nobody waits for
anybody within a step, and a smaller group stays in its core's cache.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from droplab.errors import RunError
from droplab.sweep._group_session import halve
from droplab.sweep._group_worker import GroupMessage, GroupTask, train_group
from droplab.sweep._grouping import Group, stored_groups
from droplab.sweep._session import Session
from droplab.sweep._worker_pool import ATTEMPTS, WorkerPool

_MEMORY = MemoryError("a worker had not enough memory")


@dataclasses.dataclass
class GroupWorkerSession(Session):
    """Trains in `plan.workers` processes at a time, each with a group of the stored plan."""

    def __post_init__(self) -> None:
        self._pool = WorkerPool[GroupTask](train_group, self.plan.workers)
        self._short_of_memory: set[Group] = set()

    def train_all(self) -> None:
        """Train every group of the stored plan that is not done.

        A group for which memory does not suffice is halved, and so is the plan.

        Raises:
            RunError: If a worker failed or died twice, the loss of every replica became NaN, or
                there is no memory for a single replica.
        """
        states = {(m.arm, m.seed): m.state for m in self.store.members()}
        tasks = [
            self._task(group, 1)
            for group in stored_groups(self.store.plan)
            if any(states[name] in ("waiting", "running") for name in group.members)
        ]
        self._pool.run(tasks, arguments=self._begin, take=self._take, lost=self._again)
        self.check_survivors()

    def _task(self, group: Group, attempt: int) -> GroupTask:
        names = set(group.members)
        members = tuple(m for m in self.store.members() if (m.arm, m.seed) in names)
        rows = tuple(row for row in self.store.rows() if (row.arm, row.seed) in names)
        going_on = [m for m in members if m.state not in ("done", "nan")]
        first = going_on[0] if going_on else members[0]
        checkpoint = self.store.checkpoint(first.arm, first.seed)
        return GroupTask(
            group, attempt, self.store.folder, members, rows, checkpoint, self.log_every
        )

    def _begin(self, task: GroupTask) -> tuple[Any, ...]:
        return self.experiment, self.plan, task

    def _take(self, task: GroupTask, message: GroupMessage) -> bool:
        if (message.group, message.attempt) != (task.group, task.attempt):
            return False
        if message.kind == "store":
            getattr(self.store, message.name)(*message.arguments)
        elif message.kind == "observer":
            getattr(self.observer, message.name)(*message.arguments)
        elif message.kind == "memory":
            self._short_of_memory.add(task.group)
        elif message.kind == "error":
            self._fail(task, message.name)
        return message.kind == "done"

    def _again(self, task: GroupTask, code: int | None) -> list[GroupTask]:
        group = task.group
        if group in self._short_of_memory:
            return [self._task(half, 1) for half in halve(self, group, _MEMORY)]
        if task.attempt >= ATTEMPTS:
            raise RunError(
                f"{self.experiment.recipe.name}: the worker of {_words(group)} died "
                f"{task.attempt} times (exit code {code}); finished epochs are kept, look for a "
                "lack of memory and resume"
            )
        return [self._task(group, task.attempt + 1)]

    def _fail(self, task: GroupTask, trace: str) -> None:
        # the whole traceback is for who looks into the run; people get its last line
        for member in task.members:
            if member.state not in ("done", "nan"):
                self.store.set_member_state(member.arm, member.seed, "waiting", trace)
        reason = trace.strip().splitlines()[-1]
        raise RunError(
            f"{self.experiment.recipe.name}: {_words(task.group)} failed in their worker "
            f"({reason}); finished epochs are kept"
        )


def _words(group: Group) -> str:
    arm, seed = group.members[0]
    return f"the {len(group.members)} replicas from arm '{arm}', seed {seed} on"
