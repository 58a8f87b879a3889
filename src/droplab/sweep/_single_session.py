"""Replicas trained by themselves, one after another, in the driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from droplab.errors import RunError
from droplab.recipe import Arm
from droplab.results import BatchRow
from droplab.sweep._experiment import Replica
from droplab.sweep._folders import file_stem, weights_path
from droplab.sweep._rows import goodness, row_of
from droplab.sweep._session import Session
from droplab.train import (
    Diverged,
    EpochResult,
    fit,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)


@dataclasses.dataclass
class SingleSession(Session):
    """Trains seed by seed, all arms of a seed after one another.

    A run that was cut short can then still be judged on the seeds that it finished.
    """

    def train_all(self) -> None:
        """Train every replica that is not done.

        Raises:
            RunError: If a loss became NaN.
        """
        recipe = self.experiment.recipe
        states = {(member.arm, member.seed): member.state for member in self.store.members()}
        for seed in recipe.seeds:
            for arm in recipe.arms:
                if states.get((arm.name, seed), "done") != "done":
                    self.train(arm, seed)

    def train(self, arm: Arm, seed: int) -> None:
        """Train one replica from where its last checkpoint left it."""
        store, recipe = self.store, self.experiment.recipe
        replica = self.experiment.replica(arm, seed, self.plan.device)
        checkpoint = store.checkpoint(arm.name, seed)
        start = 0
        if checkpoint is not None:
            start = load_checkpoint(replica.model, replica.optimizer, checkpoint)
        store.set_member_state(arm.name, seed, "running")
        logged: list[BatchRow] = []

        def log(step: int, loss: float) -> None:
            logged.append(BatchRow(arm.name, seed, step, loss))
            self.observer.batches_logged(arm.name, seed, step, loss)

        best = self._best_so_far(arm.name, seed, start)
        try:
            for result in self._fit(replica, seed, start, arm.name, log):
                row = row_of(arm.name, seed, result)
                value = goodness(row, recipe.primary)
                if best is None or value > best:
                    best = value
                    save_weights(replica.model, weights_path(store, recipe, arm.name, seed, "best"))
                name = self._checkpoint(replica, arm.name, seed, result.epoch)
                store.commit_epoch(row, name, logged)
                self._forget_checkpoints(arm.name, seed, keep=name)
                logged.clear()
                self.observer.epoch_done(row)
        except Diverged as error:
            store.set_member_state(arm.name, seed, "nan", str(error))
            raise RunError(f"{recipe.name}: arm '{arm.name}', seed {seed}: {error}") from error
        save_weights(replica.model, weights_path(store, recipe, arm.name, seed, "last"))
        store.set_member_state(arm.name, seed, "done")

    def _fit(
        self,
        replica: Replica,
        seed: int,
        start: int,
        arm: str,
        log: Callable[[int, float], None],
    ) -> Iterator[EpochResult]:
        recipe, splits = self.experiment.recipe, self.experiment.splits
        return fit(
            replica.model,
            replica.optimizer,
            replica.applied,
            splits.train,
            splits.validation,
            seed=seed,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            plan=self.plan,
            start=start,
            clip=recipe.clip,
            scheduler=self.experiment.scheduler,
            log_every=self.log_every,
            on_log=log,
            on_steps=lambda steps: self.observer.steps_done(arm, seed, steps),
        )

    def _best_so_far(self, arm: str, seed: int, epochs: int) -> float | None:
        primary = self.experiment.recipe.primary
        values = [
            goodness(row, primary)
            for row in self.store.rows()
            if (row.arm, row.seed) == (arm, seed) and row.epoch <= epochs
        ]
        return max(values, default=None)

    def _checkpoint(self, replica: Replica, arm: str, seed: int, epoch: int) -> str:
        name = f"{file_stem(self.experiment.recipe, arm, seed)}-epoch{epoch}.safetensors"
        path = self.store.checkpoints_folder / name
        save_checkpoint(replica.model, replica.optimizer, path, epoch=epoch)
        return name

    def _forget_checkpoints(self, arm: str, seed: int, *, keep: str) -> None:
        stem = f"{file_stem(self.experiment.recipe, arm, seed)}-epoch"
        for path in self.store.checkpoints_folder.glob(f"{stem}*"):
            if path.name != keep:
                path.unlink()
