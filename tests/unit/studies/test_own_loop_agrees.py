"""A loop under a study and droplab's own engine say the same of the same network and data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from droplab import models
from droplab.recipe import Recipe, load, override
from droplab.results import EpochRow
from droplab.studies import Trial, resolve, run, study
from droplab.train import ExecutionPlan

PLAN = ExecutionPlan(1, captured=True, group=12)


def last(recipe: Recipe, rows: tuple[EpochRow, ...]) -> dict[str, np.ndarray]:
    return {
        arm.name: np.array(
            [r.val_loss for r in rows if r.arm == arm.name and r.epoch == recipe.epochs]
        )
        for arm in recipe.arms
    }


@pytest.mark.slow
def test_engine_and_loop_agree_within_the_noise_of_seeds(tmp_path: Path):
    recipe = override(load("digits"), {"epochs": 4, "seeds": list(range(6))})
    recipe = dataclasses.replace(recipe, arms=(recipe.arms[0], recipe.arms[2]))
    experiment = resolve(recipe)
    train, valid = (
        TensorDataset(split.inputs.float().div(255), split.targets)
        if split.inputs.dtype == torch.uint8
        else TensorDataset(split.inputs, split.targets)
        for split in (experiment.splits.train, experiment.splits.validation)
    )
    x, y = valid.tensors

    def fit(trial: Trial) -> None:
        model = trial.place(models.build(recipe.model))
        optimizer = experiment.make_optimizer(model.parameters())
        loader = DataLoader(train, batch_size=recipe.batch_size, shuffle=True)
        for _ in trial.epochs(recipe.epochs):
            model.train()
            for inputs, targets in loader:
                loss = torch.nn.functional.cross_entropy(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                trial.report(val_loss=torch.nn.functional.cross_entropy(model(x), y))

    engine = last(recipe, run(recipe, tmp_path / "engine", plan=PLAN).rows)
    mine = study(
        tmp_path / "study",
        arms=recipe.arms,
        seeds=recipe.seeds,
        metrics={"val_loss": "lower"},
        quiet=True,
    )
    mine.run(fit)
    loop = last(recipe, mine.result().rows)
    for arm in loop:
        one, two = engine[arm], loop[arm]
        error = np.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
        assert abs(one.mean() - two.mean()) < 3 * error, arm
