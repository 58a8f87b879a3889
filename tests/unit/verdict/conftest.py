from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from droplab.recipe import Arm, Condition, DataSpec, ModelSpec, OptimizerSpec, Recipe, Target
from droplab.results import EpochRow, Member, RunResult

EPOCHS = 4


def plain_row(arm: str, seed: int, epoch: int, loss: float) -> EpochRow:
    """A row of a sound run that does not overfit: losses fall, and so does the gap."""
    early = EPOCHS - epoch
    values = {
        "train_loss_running": 0.6 + 0.1 * early,
        "train_accuracy_running": 0.85,
        "train_loss": 0.5 + 0.1 * early,
        "train_accuracy": 0.9,
        "val_loss": loss + 0.1 * early,
        "val_accuracy": 0.88,
        "val_ece": 0.02,
        "gap": 0.9 - 0.88,
    }
    return EpochRow(values, arm, seed, epoch, 0.5)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    def make(
        arms: Sequence[str] = ("none", "a", "b"),
        seeds: Sequence[int] = tuple(range(8)),
        **changes: object,
    ) -> Recipe:
        recipe = Recipe(
            name="tiny",
            data=DataSpec(name="digits", validation=400),
            model=ModelSpec(path="mlp"),
            optimizer=OptimizerSpec(name="Adam"),
            epochs=EPOCHS,
            batch_size=20,
            seeds=tuple(seeds),
            arms=tuple(
                Arm(name, {"fc2": 0.1 * i} if name != "none" else {})
                for i, name in enumerate(arms, start=1)
            ),
            target=Target((Condition("val_accuracy", ">=", 0.85),)),
        )
        return replace(recipe, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_result(make_recipe: Callable[..., Recipe]) -> Callable[..., RunResult]:
    """A run from the last validation losses, arm -> one a seed; None: no row of that seed."""

    def make(
        losses: Mapping[str, Sequence[float | None]],
        recipe: Recipe | None = None,
        **changes: object,
    ) -> RunResult:
        seeds = range(max(len(each) for each in losses.values()))
        recipe = recipe or make_recipe(tuple(losses), seeds)
        rows = tuple(
            plain_row(arm, seed, epoch, loss)
            for arm, each in losses.items()
            for seed, loss in zip(recipe.seeds, each, strict=False)
            if loss is not None
            for epoch in range(1, EPOCHS + 1)
        )
        members = tuple(
            Member(arm.name, seed, "done", EPOCHS) for arm in recipe.arms for seed in seeds
        )
        result = RunResult(Path("run"), recipe, {}, rows, members=members)
        return replace(result, **changes)  # type: ignore[arg-type]

    return make
