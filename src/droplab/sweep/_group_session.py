"""Training groups of replicas together, row by row onto the disk."""

from __future__ import annotations

import dataclasses
from time import perf_counter

import torch
from torch import Tensor

from droplab.data import Split
from droplab.errors import RunError
from droplab.results import BatchRow
from droplab.sweep._folders import weights_path
from droplab.sweep._grouping import Group, stored_groups
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._session import Session
from droplab.train import (
    Population,
    PopulationEpoch,
    fit_population,
    is_out_of_memory,
    load_population,
    save_population,
    save_weights,
)

_CHECKPOINT_SECONDS = 5.0
"""Time between two checkpoints of a group, which hold all its members and may be large."""

Name = tuple[str, int]


@dataclasses.dataclass
class GroupSession(Session):
    """Trains one group after another in the driver."""

    def train_all(self) -> None:
        """Train every group of the stored plan that is not done.

        A group for which memory does not suffice is halved, and so is the plan.

        Raises:
            RunError: If the loss of every replica became NaN, or there is no memory for a single
                replica.
        """
        waiting = list(stored_groups(self.store.plan))
        while waiting:
            group = waiting.pop(0)
            try:
                self.train(group)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                waiting[:0] = halve(self, group, error)
        self.check_survivors()

    def train(self, group: Group) -> None:
        """Train one group from where its last checkpoint left it."""
        store, recipe = self.store, self.experiment.recipe
        states = {(member.arm, member.seed): member.state for member in store.members()}
        if all(states[name] in ("done", "nan") for name in group.members):
            return
        arms = [arm for arm in recipe.arms if arm.name in group.arms]
        population = self.experiment.population(arms, group.seeds, self.plan.device)
        names = group.members
        going_on = [name for name in names if states[name] not in ("done", "nan")]
        checkpoint = store.checkpoint(*going_on[0])
        start = 0
        if checkpoint is not None:
            start = load_population(population, names, checkpoint)
        for name in going_on:
            store.set_member_state(*name, "running")
        work = _GroupWork(self, population, names, start)
        splits = self.experiment.splits
        assert isinstance(splits.train, Split)  # streamed data is never grouped
        assert isinstance(splits.validation, Split)
        for epoch in fit_population(
            population,
            splits.train,
            splits.validation,
            seeds=group.seeds,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            plan=self.plan,
            start=start,
            clip=recipe.clip,
            scheduler=self.experiment.scheduler,
            log_every=self.log_every,
            on_log=work.log,
            on_steps=lambda steps: self.observer.group_steps_done(names, steps),
        ):
            work.keep(epoch)
        work.finish()


def halve(session: Session, group: Group, error: BaseException) -> tuple[Group, Group]:
    """Divide a group in the stored plan.

    Raises:
        RunError: If it has one replica.
    """
    halves = group.halves()
    if halves is None:
        arm, seed = group.members[0]
        raise RunError(
            f"{session.experiment.recipe.name}: not enough memory for arm '{arm}', seed {seed} "
            "alone; take a smaller batch or model"
        ) from error
    stored = session.store.plan
    groups: list[Group] = []
    for known in stored_groups(stored):
        groups += halves if known == group else (known,)
    session.store.set_plan({**stored, "groups": [each.to_list() for each in groups]})
    session.observer.group_halved(len(group.members), len(halves[0].members))
    return halves


class _GroupWork:
    """What is kept of one group while it is trained."""

    def __init__(
        self, session: GroupSession, population: Population, names: tuple[Name, ...], start: int
    ) -> None:
        self._session = session
        self._store = session.store
        self._observer = session.observer
        self._recipe = session.experiment.recipe
        self._population = population
        self._names = names
        self._logged: list[BatchRow] = []
        self._saved = perf_counter()
        self._best: dict[Name, float] = {}
        self._improved: set[int] = set()
        self._best_weights = {
            name: tensor.detach().clone()
            for name, tensor in {**population.parameters, **population.buffers}.items()
        }
        for row in self._store.rows():
            if row.epoch <= start and (row.arm, row.seed) in names:
                value = goodness(row, self._recipe.primary)
                old = self._best.get((row.arm, row.seed), float("-inf"))
                self._best[row.arm, row.seed] = max(value, old)

    def log(self, member: int, step: int, loss: float) -> None:
        """Keep the mean loss of some mini-batches of a member."""
        arm, seed = self._names[member]
        self._logged.append(BatchRow(arm, seed, step, loss))
        self._observer.batches_logged(arm, seed, step, loss)

    def keep(self, epoch: PopulationEpoch) -> None:
        """Confirm the rows of an epoch, with a checkpoint if the last one is old."""
        rows = [
            row_of(*name, result)
            for name, result in zip(self._names, epoch.results, strict=True)
            if result is not None
        ]
        for member, error in epoch.diverged.items():
            arm, seed = self._names[member]
            self._store.set_member_state(arm, seed, "nan", str(error))
            self._observer.diverged(arm, seed, str(error))
        where = {name: member for member, name in enumerate(self._names)}
        for row in rows:
            value = goodness(row, self._recipe.primary)
            if value > self._best.get((row.arm, row.seed), float("-inf")):
                self._best[row.arm, row.seed] = value
                self._improved.add(where[row.arm, row.seed])
                self._remember(where[row.arm, row.seed])
        last = epoch.epoch == self._recipe.epochs
        checkpoint = None
        if last or epoch.epoch == 1 or perf_counter() - self._saved > _CHECKPOINT_SECONDS:
            checkpoint = self._checkpoint(epoch.epoch)
        self._store.commit_epochs(rows, checkpoint, self._logged)
        self._logged.clear()
        for row in rows:
            self._observer.epoch_done(row)

    def _remember(self, member: int) -> None:
        with torch.no_grad():
            for name, tensor in {**self._population.parameters, **self._population.buffers}.items():
                self._best_weights[name][member].copy_(tensor[member])

    def _checkpoint(self, epoch: int) -> str:
        for member in sorted(self._improved):
            self._save(member, "best", self._population.state_dict(member, self._best_weights))
        self._improved.clear()
        arm, seed = self._names[0]
        number = [each.name for each in self._recipe.arms].index(arm)
        name = f"group{number}-seed{seed}-{len(self._names)}-epoch{epoch}.safetensors"
        path = self._store.checkpoints_folder / name
        save_population(self._population, self._names, path, epoch=epoch)
        self._saved = perf_counter()
        return name

    def _save(self, member: int, which: str, state: dict[str, Tensor]) -> None:
        arm, seed = self._names[member]
        save_weights(state, weights_path(self._store, self._recipe, arm, seed, which))

    def finish(self) -> None:
        """Write the last weights of every replica that came through."""
        for member, (arm, seed) in enumerate(self._names):
            if self._population.alive[member]:
                self._save(member, "last", self._population.state_dict(member))
                self._store.set_member_state(arm, seed, "done")
