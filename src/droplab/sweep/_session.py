"""What every way to train a run has in common."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from droplab.errors import RunError
from droplab.results import RunStore, TestRow
from droplab.sweep._experiment import Experiment
from droplab.sweep._folders import weights_path
from droplab.sweep._observer import Observer
from droplab.train import ExecutionPlan, evaluate, load_weights
from droplab.verdict import choose


@dataclasses.dataclass
class Session(ABC):
    """One driver at work on a run; it alone writes the store.

    Args:
        experiment: What is trained.
        store: The run.
        plan: How.
        log_every: Mini-batches whose mean loss is kept together; 0 for none.
        observer: Told of everything as it happens.
    """

    experiment: Experiment
    store: RunStore
    plan: ExecutionPlan
    log_every: int
    observer: Observer

    @abstractmethod
    def train_all(self) -> None:
        """Train every replica that is not done, from where its last checkpoint left it.

        Raises:
            RunError: If a replica cannot be trained, or none is sound in the end.
        """

    def test(self) -> None:
        """Measure the baseline and the chosen arm on the test split, once."""
        recipe, split = self.experiment.recipe, self.experiment.splits.test
        members = self.store.members()
        if split is None or any(member.state in ("waiting", "running") for member in members):
            return
        trained = {member.arm for member in members}
        baseline = recipe.baseline.name
        if baseline not in trained or len(trained) < 2:
            return
        done = {(row.arm, row.seed) for row in self.store.tests()}
        best = choose(self.store.rows(), recipe, members)
        sound = {(member.arm, member.seed) for member in members if member.state == "done"}
        for arm in (baseline, best) if best is not None else ():
            for seed in recipe.seeds:
                if (arm, seed) in done or (arm, seed) not in sound:
                    continue
                model = self.experiment.replica(
                    recipe.arm(arm), seed, channels_last=self.plan.channels_last
                ).model
                load_weights(model, weights_path(self.store, recipe, arm, seed, "last"))
                with self.plan.active():
                    score = evaluate(model, split, batch_size=self.plan.score_batch)
                row = TestRow(arm, seed, score.loss, score.accuracy, score.ece)
                self.store.add_test_row(row)
                self.observer.tested(row)

    def check_survivors(self) -> None:
        """Check, after training, that the loss of at least one replica stayed finite.

        Raises:
            RunError: If every replica was stopped by a NaN.
        """
        members = self.store.members()
        if members and all(member.state == "nan" for member in members):
            first = members[0]
            raise RunError(
                f"{self.experiment.recipe.name}: no replica could be trained; arm '{first.arm}', "
                f"seed {first.seed}: {first.message}"
            )
