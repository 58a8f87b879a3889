"""One driver at work on a run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from droplab.errors import RunError
from droplab.results import EpochRow, RunStore, StoppedTestRow, TestRow
from droplab.studies._experiment import Experiment
from droplab.studies._folders import weights_path
from droplab.studies._grouping import Group, stored_groups
from droplab.studies._observer import Observer
from droplab.studies._ray_pool import RayPool
from droplab.studies._rows import stopped_epoch_of, tested_values
from droplab.studies._work import (
    Done,
    Event,
    Failed,
    Logged,
    Measured,
    Said,
    StateChanged,
    Stepped,
    Task,
    train_group,
)
from droplab.studies._worker import work
from droplab.studies._worker_pool import ATTEMPTS, Pool, WorkerPool
from droplab.studies.cluster import RayCluster
from droplab.train import ExecutionPlan, evaluate
from droplab.train.checkpoint import load_weights
from droplab.train.memory import is_out_of_memory
from droplab.verdict import choose

_KEEP_HERE, _KEEP_THERE = 5.0, 60.0
"""Seconds of training between two checkpoints of a group: on this disk, and sent over a network."""


@dataclasses.dataclass
class Session:
    """One driver at work on a run; it alone writes the store.

    Groups of replicas are trained one after another in this process, or in `plan.workers` others at
    a time, or on a cluster. A replica that is trained by itself is a group of one.

    Args:
        experiment: What is trained.
        store: The run.
        plan: How.
        log_every: Mini-batches whose mean loss is kept together; 0 for none.
        observer: Told of everything as it happens.
        cluster: Whose processes train; None for those of this machine.
        arms: Names of the arms that are trained; the others stay where they are.
        until: The epoch after which training stops; None: the last one.
    """

    experiment: Experiment
    store: RunStore
    plan: ExecutionPlan
    log_every: int
    observer: Observer
    cluster: RayCluster | None = None
    arms: Collection[str] | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        self._pool: Pool[Task] | None = None
        if self.cluster is not None:
            self._pool = RayPool[Task](self.cluster, work, self.store.folder)
        elif self.plan.workers:
            self._pool = WorkerPool[Task](work, self.store.folder, self.plan.workers)
        self._short_of_memory: set[Group] = set()

    def train_all(self) -> None:
        """Train every group that is not done, from where its last checkpoint left it.

        A group for which memory does not suffice is halved, and so is the stored plan.

        Raises:
            RunError: If a worker failed or died twice, the loss of every replica became NaN, or
                there is no memory for a single replica.
        """
        members = self.store.members()
        open_ = {
            (m.arm, m.seed)
            for m in members
            if m.state in ("waiting", "running")
            and (m.epochs_done < self._last or self._last == self.experiment.recipe.epochs)
        }
        groups = self._going(stored_groups(self.store.plan)) or self._singles()
        tasks = [self._task(group) for group in groups if open_.intersection(group.members)]
        if self._pool is not None:
            self._pool.run(
                tasks, arguments=self._begin, needs=_needs, take=self.take, lost=self._again
            )
        else:
            self._train_here(tasks)
        self._check_survivors()

    @property
    def _last(self) -> int:
        epochs = self.experiment.recipe.epochs
        return epochs if self.until is None else min(self.until, epochs)

    def _going(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups without the arms that are left, and store them so."""
        if self.arms is None:
            return list(groups)
        going = [kept for group in groups if (kept := group.only(self.arms))]
        if going != list(groups):
            self._store_groups(going)
        return going

    def _store_groups(self, groups: Sequence[Group]) -> None:
        self.store.set_plan({**self.store.plan, "groups": [each.to_list() for each in groups]})

    def _singles(self) -> list[Group]:
        """Seed by seed, all arms of a seed: what was cut short can be judged on whole seeds."""
        recipe = self.experiment.recipe
        there = {
            (member.arm, member.seed)
            for member in self.store.members()
            if self.arms is None or member.arm in self.arms
        }
        pairs = [(arm.name, seed) for seed in recipe.seeds for arm in recipe.arms]
        return [Group((arm,), (seed,)) for arm, seed in pairs if (arm, seed) in there]

    def _task(self, group: Group, attempt: int = 1) -> Task:
        names = set(group.members)
        members = tuple(m for m in self.store.members() if (m.arm, m.seed) in names)
        rows = tuple(row for row in self.store.rows() if (row.arm, row.seed) in names)
        every = _KEEP_HERE if self.cluster is None else _KEEP_THERE
        task = Task(group, attempt, members, rows, self._last, None, self.log_every, every)
        checkpoint = self.store.checkpoint(*(task.going_on or group.members)[0])
        if checkpoint is not None:
            checkpoint = checkpoint.relative_to(self.store.folder)
        return dataclasses.replace(task, checkpoint=checkpoint)

    def _train_here(self, tasks: list[Task]) -> None:
        while tasks:
            task = tasks.pop(0)
            try:
                train_group(
                    self.experiment, self.plan, self.store.folder, task, partial(self.take, task)
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tasks[:0] = self._halves(task.group)

    def _begin(self, task: Task) -> tuple[Any, ...]:
        level = logging.getLogger("droplab").getEffectiveLevel()
        return self.experiment, self.plan, task, level

    def take(self, task: Task, event: Event) -> bool:
        """Write down what happened to a group; return whether it is done."""
        match event:
            case Stepped(steps):
                self.observer.steps_done(task.group.members, steps)
            case Said(logger, level, message):
                logging.getLogger(logger).log(level, message)
            case Logged(row):
                self.observer.batches_logged(row.arm, row.seed, row.step, row.loss)
            case Measured(rows, checkpoint, logged, parts):
                self.store.commit_epochs(rows, checkpoint, logged, parts)
                for row in rows:
                    self.observer.epoch_done(row)
            case StateChanged(arm, seed, state, message):
                self.store.set_member_state(arm, seed, state, message)
                if state == "nan":
                    self.observer.diverged(arm, seed, message)
                if state != "running":
                    self.observer.ended(arm, seed, state)
            case Failed(_, True):
                self._short_of_memory.add(task.group)
            case Failed(trace, False):
                self._fail(task, trace)
            case Done():
                return True
        return False

    def _again(self, task: Task, how: str) -> list[Task]:
        if task.group in self._short_of_memory:
            return self._halves(task.group)
        if task.attempt >= ATTEMPTS:
            raise RunError(
                f"{self.experiment.recipe.name}: the worker of {task.group} died "
                f"{task.attempt} times ({how}); finished epochs are kept, look for a "
                "lack of memory and resume"
            )
        return [self._task(task.group, task.attempt + 1)]

    def _halves(self, group: Group) -> list[Task]:
        """Divide a group in the stored plan."""
        halves = group.halves()
        if halves is None:
            raise RunError(
                f"{self.experiment.recipe.name}: not enough memory for {group} alone; "
                "take a smaller batch or model"
            )
        groups: list[Group] = []
        for known in stored_groups(self.store.plan):
            groups += halves if known == group else (known,)
        self._store_groups(groups)
        self.observer.group_halved(len(group.members), len(halves[0].members))
        return [self._task(half) for half in halves]

    def _fail(self, task: Task, trace: str) -> None:
        # the whole traceback is for who looks into the run; people get its last line
        for arm, seed in task.going_on:
            self.store.set_member_state(arm, seed, "waiting", trace)
        reason = trace.strip().splitlines()[-1]
        whose = "its" if len(task.group.members) == 1 else "their"
        raise RunError(
            f"{self.experiment.recipe.name}: {task.group} failed in {whose} worker "
            f"({reason}); finished epochs are kept"
        )

    def _check_survivors(self) -> None:
        """Check, after training, that the loss of at least one replica stayed finite."""
        members = self.store.members()
        if members and all(member.state == "nan" for member in members):
            first = members[0]
            raise RunError(
                f"{self.experiment.recipe.name}: no replica could be trained; arm '{first.arm}', "
                f"seed {first.seed}: {first.message}"
            )

    def test(self) -> None:
        """Measure the baseline and the chosen arm on the test split, once.

        Both with the weights of the last epoch, and where early stopping is asked about, with those
        of the stopped epoch.
        """
        recipe = self.experiment.recipe
        members = self.store.members()
        if self.experiment.splits.test is None or any(
            member.state in ("waiting", "running") for member in members
        ):
            return
        trained = {member.arm for member in members}
        baseline = recipe.baseline.name
        if baseline not in trained or len(trained) < 2:
            return
        done = {(row.arm, row.seed) for row in self.store.tests()}
        stopped = {(row.arm, row.seed) for row in self.store.stopped_tests()}
        rows = self.store.rows()
        best = choose(rows, recipe, members)
        sound = {(member.arm, member.seed) for member in members if member.state == "done"}
        for arm in (baseline, best) if best is not None else ():
            for seed in recipe.seeds:
                if (arm, seed) not in sound:
                    continue
                own = {row.epoch: row for row in rows if (row.arm, row.seed) == (arm, seed)}
                if (arm, seed) not in done:
                    values = self._tested(arm, seed, "last", own.get(recipe.epochs))
                    row = TestRow(values, arm, seed)
                    self.store.add_test_row(row)
                    self.observer.tested(row)
                if self.experiment.stops and (arm, seed) not in stopped:
                    epoch = stopped_epoch_of(recipe, list(own.values()))
                    values = self._tested(arm, seed, "best", own.get(epoch))
                    self.store.add_test_row(StoppedTestRow(values, arm, seed, epoch))

    def _tested(self, arm: str, seed: int, which: str, row: EpochRow | None) -> dict[str, float]:
        """Return what some weights of a replica reach on the test split.

        `row` is of the epoch that they are of.
        """
        recipe, mine = self.experiment.recipe, self.experiment.of_seeds([seed])
        replica = mine.replica(recipe.arm(arm), seed, channels_last=self.plan.channels_last)
        load_weights(replica.model, weights_path(self.store, recipe, arm, seed, which))
        test, size = mine.splits.test, self.plan.score_batch
        assert test is not None  # no seed has one, or all have
        with self.plan.active(), self.plan.scoring():
            score = evaluate(replica.model, test, batch_size=size, task=mine.task)
        return tested_values(recipe, score, row)


def _needs(task: Task) -> Sequence[Path]:
    return () if task.checkpoint is None else (task.checkpoint,)
