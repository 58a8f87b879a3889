"""The work on one group of replicas, in the driver or in a worker process, and what it tells."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from droplab.recipe import Stopping
from droplab.results import BatchRow, EpochRow, Member, PartRow, State
from droplab.studies._experiment import Experiment
from droplab.studies._folders import checkpoint_name, weights_path_in
from droplab.studies._grouping import Group
from droplab.studies._rows import part_rows, row_of
from droplab.train import Epoch, EpochResult, ExecutionPlan, Executor, fit
from droplab.train.checkpoint import load_checkpoint, save_checkpoint, save_weights
from droplab.train.freed_memory import freed_memory_kept

_LOG = logging.getLogger("droplab.studies")

_KEEP_SHARE = 0.02
"""The part of training's time that writing checkpoints may take."""

_BYTES_A_SECOND, _SMALL = 300e6, 30e6
"""How fast one is taken to be written before the first is, and below how many bytes that counts as
nothing: so little is kept after the first epoch already."""

Name = tuple[str, int]
"""Arm and seed of a replica."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A group to train, from where its last checkpoint left it.

    Attributes:
        group: The group.
        attempt: Counted from 1: a task whose process died is tried again.
        members: State of the group's replicas.
        rows: Rows of the group so far.
        until: After which epoch to stop, and to leave a checkpoint to go on from.
        checkpoint: Where to go on from, relative to the run's folder; None for the beginning.
        log_every: Mini-batches whose mean loss is told together; 0 for none.
        keep_every: Seconds of training between two checkpoints, which hold all members and may be
            large; more where writing one takes long.
    """

    group: Group
    attempt: int
    members: tuple[Member, ...]
    rows: tuple[EpochRow, ...]
    until: int
    checkpoint: Path | None
    log_every: int
    keep_every: float

    @property
    def going_on(self) -> list[Name]:
        """Arm and seed of the replicas that are neither done nor stopped by a NaN."""
        return [(m.arm, m.seed) for m in self.members if m.state in ("waiting", "running")]


@dataclasses.dataclass(frozen=True)
class StateChanged:
    """A replica is at work, done, or stopped by a NaN."""

    arm: str
    seed: int
    state: State
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Rows of an epoch; `checkpoint` is the name of a finished file, if there is a new one."""

    rows: tuple[EpochRow, ...]
    checkpoint: str | None
    logged: tuple[BatchRow, ...]
    parts: tuple[PartRow, ...] = ()


@dataclasses.dataclass(frozen=True)
class Logged:
    """The mean loss of some mini-batches."""

    row: BatchRow


@dataclasses.dataclass(frozen=True)
class Stepped:
    """The group has taken so many steps more."""

    steps: int


@dataclasses.dataclass(frozen=True)
class Failed:
    """The group cannot be trained: a traceback, and whether memory did not suffice."""

    trace: str
    memory: bool


@dataclasses.dataclass(frozen=True)
class Done:
    """The group is trained."""


@dataclasses.dataclass(frozen=True)
class Said:
    """What a worker process has logged."""

    logger: str
    level: int
    message: str


Event = Said | StateChanged | Measured | Logged | Stepped | Failed | Done
"""What is told of a group while it is trained; the driver alone writes it down."""

Tell = Callable[[Event], object]


@freed_memory_kept()
def train_group(
    experiment: Experiment, plan: ExecutionPlan, folder: Path, task: Task, tell: Tell
) -> None:
    """Train one group from where its last checkpoint left it.

    Args:
        experiment: What is trained.
        plan: How.
        folder: Folder of the run, for weights and checkpoints.
        task: Which group, and from where.
        tell: Called with what happens. What a `Measured` names is on disk by then.

    Raises:
        RunError: If the checkpoint cannot be read; no replica counts as begun then.
    """
    experiment = experiment.of_seeds(task.group.seeds)
    recipe, names = experiment.recipe, task.group.members
    arms = [arm for arm in recipe.arms if arm.name in task.group.arms]
    executor = experiment.executor(arms, task.group.seeds, plan)
    start = 0
    if task.checkpoint is not None:
        start = load_checkpoint(executor, names, folder / task.checkpoint)
        _LOG.debug("%s goes on after epoch %d, from %s", task.group, start, task.checkpoint.name)
    else:
        _LOG.debug("%s begins", task.group)
    for name in task.going_on:
        tell(StateChanged(*name, "running"))
    work = _Work(experiment, folder, task, tell, executor, start)
    watching = experiment.scheduler is not None and experiment.scheduler.watches
    before = sorted((row for row in task.rows if row.epoch <= start), key=lambda row: row.epoch)
    for epoch in fit(
        executor,
        experiment.splits.train,
        experiment.splits.validation,
        seeds=task.group.seeds,
        epochs=recipe.epochs,
        batch_size=experiment.step_size,
        plan=plan,
        start=start,
        scheduler=experiment.scheduler,
        watch=work.primary if watching else None,
        watched=[each.values[recipe.primary] for each in before] if watching else (),
        rates=experiment.rates_of_step(arms),
        deciding=experiment.deciding,
        held=experiment.splits.stopping,
        log_every=task.log_every,
        on_log=work.log,
        on_steps=lambda steps: tell(Stepped(steps)),
    ):
        work.keep(epoch)
        if epoch.epoch == task.until < recipe.epochs:
            return
    work.finish()


class _Work:
    """What is kept of one group while it is trained."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        task: Task,
        tell: Tell,
        executor: Executor,
        start: int,
    ) -> None:
        self._recipe = experiment.recipe
        self._folder = folder
        self._names = task.group.members
        self._tell = tell
        self._executor = executor
        self._logged: list[BatchRow] = []
        self._trained, self._keep_every, self._until = 0.0, task.keep_every, task.until
        # with what an optimizer keeps beside each weight, until a first checkpoint tells the cost
        size = 3 * sum(each.nbytes for each in executor.tensors().values())
        self._keep_at = max(task.keep_every, size / _BYTES_A_SECOND / _KEEP_SHARE)
        self._small = size < _SMALL
        primary, stopping = self._recipe.metrics[self._recipe.primary], self._recipe.stopping
        self._rules = {
            name: Stopping(
                higher_is_better=primary.higher_is_better,
                patience=stopping.patience,
                min_gain=stopping.min_gain,
            )
            for name in self._names
        }
        self._improved: set[int] = set()
        self._best_weights = {name: t.clone() for name, t in executor.tensors().items()}
        for row in task.rows:
            if row.epoch <= start:
                self._improves(row)

    def _improves(self, row: EpochRow) -> bool:
        """Whether the stopped epoch of a replica is now the one of this row."""
        return self._rules[row.arm, row.seed].take(row.values[self._recipe.stops_by])

    def primary(self, result: EpochResult) -> float:
        """Return the primary metric of an epoch of the first replica."""
        return row_of(self._recipe, *self._names[0], result).values[self._recipe.primary]

    def log(self, member: int, step: int, loss: float) -> None:
        """Keep the mean loss of some mini-batches of a member."""
        row = BatchRow(*self._names[member], step, loss)
        self._logged.append(row)
        self._tell(Logged(row))

    def keep(self, epoch: Epoch) -> None:
        """Tell the rows of an epoch, with a checkpoint if the last one is old."""
        for member, error in epoch.diverged.items():
            self._tell(StateChanged(*self._names[member], "nan", str(error)))
        rows: list[EpochRow] = []
        parts: list[PartRow] = []
        for member, result in enumerate(epoch.results):
            if result is None:
                continue
            self._trained += result.seconds
            row = row_of(self._recipe, *self._names[member], result)
            rows.append(row)
            parts += part_rows(*self._names[member], result)
            if self._improves(row):
                self._improved.add(member)
                self._remember(member)
        last = epoch.epoch in (self._until, self._recipe.epochs)
        checkpoint = None
        begun = epoch.epoch == 1 and self._small
        if last or begun or self._trained > self._keep_at:
            checkpoint = self._checkpoint(epoch.epoch)
        self._tell(Measured(tuple(rows), checkpoint, tuple(self._logged), tuple(parts)))
        self._logged.clear()

    def _remember(self, member: int) -> None:
        for name, tensor in self._executor.tensors().items():
            if self._best_weights[name].shape != tensor.shape:  # a buffer that grows
                self._best_weights[name] = tensor.clone()
            self._best_weights[name][member].copy_(tensor[member])

    def _checkpoint(self, epoch: int) -> str:
        began = perf_counter()
        for member in sorted(self._improved):
            state = self._executor.state_dict(member, self._best_weights)
            save_weights(state, self._weights(member, "best"))
        self._improved.clear()
        name = checkpoint_name(self._recipe, self._names, epoch)
        path = self._folder / "checkpoints" / name
        save_checkpoint(self._executor, self._names, path, epoch=epoch)
        cost = perf_counter() - began
        self._keep_at = self._trained + max(self._keep_every, cost / _KEEP_SHARE)
        _LOG.debug("checkpoint written in %.1f s: %s", cost, path)
        return name

    def _weights(self, member: int, which: str) -> Path:
        return weights_path_in(self._folder, self._recipe, *self._names[member], which)

    def finish(self) -> None:
        """Write the last weights of every replica that came through."""
        for member, name in enumerate(self._names):
            if self._executor.alive[member]:
                save_weights(self._executor.state_dict(member), self._weights(member, "last"))
                self._tell(StateChanged(*name, "done"))
