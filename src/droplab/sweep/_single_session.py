"""Replicas trained by themselves, one after another, in the driver."""

from __future__ import annotations

import dataclasses

from droplab.errors import RunError
from droplab.results import BatchRow
from droplab.sweep._replica_work import commit, next_task, train_task
from droplab.sweep._session import Session
from droplab.train import Diverged


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
                    self.train(arm.name, seed)

    def train(self, arm: str, seed: int) -> None:
        """Train one replica from where its last checkpoint left it."""
        store, observer = self.store, self.observer
        task = next_task(self, arm, seed)
        logged: list[BatchRow] = []

        def log(step: int, loss: float) -> None:
            logged.append(BatchRow(arm, seed, step, loss))
            observer.batches_logged(arm, seed, step, loss)

        results = train_task(
            self.experiment,
            self.plan,
            store.folder,
            task,
            on_log=log,
            on_steps=lambda steps: observer.steps_done(arm, seed, steps),
        )
        store.set_member_state(arm, seed, "running")
        try:
            for result, checkpoint in results:
                commit(self, task, result, checkpoint, logged)
        except Diverged as error:
            store.set_member_state(arm, seed, "nan", str(error))
            name = self.experiment.recipe.name
            raise RunError(f"{name}: arm '{arm}', seed {seed}: {error}") from error
        store.set_member_state(arm, seed, "done")
