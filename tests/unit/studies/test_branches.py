"""Arms that drop residual branches, in every executor, and beside a loop in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab import placement
from droplab.errors import ArgumentError, PlacementError
from droplab.ops import drop_path, mask_key
from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe
from droplab.results import load
from droplab.studies import resolve, run, study
from droplab.train import ExecutionPlan, batch_order, initial_model

HERE = "tests.unit.studies.test_branches"
EAGER = ExecutionPlan(1)


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


NONE, PATH = Arm("none"), Arm("path", {"*": 0.3}, "path")
HALF, LAST = Arm("half", {"head": 0.5}), Arm("last", {"blocks.1": 0.5}, "path")


def recipe(*arms, **changes):
    given = {"seeds": (0, 1), "epochs": 2, "batch_size": 16, **changes}
    return Recipe(
        name="small",
        data=DataSpec("digits", train=64, validation=100),
        model=ModelSpec(f"{HERE}:Net"),
        optimizer=OptimizerSpec("SGD", {"lr": 0.05}),
        arms=arms,
        **given,
    )


def values(result, arm):
    rows = [row for row in result.rows if row.arm == arm]
    return np.array([list(row.values.values()) for row in rows])


def test_every_executor_drops_the_same_branches(tmp_path):
    asked = recipe(PATH, NONE, HALF, LAST)  # branches stand first in the recipe, last in the model
    found = {
        name: run(asked, tmp_path / name, plan=plan)
        for name, plan in (
            ("eager", EAGER),
            ("recorded", ExecutionPlan(1, captured=True)),
            ("together", ExecutionPlan(1, captured=True, group=8)),
        )
    }
    alone = run(recipe(NONE, HALF), tmp_path / "alone", plan=EAGER)
    for arm in ("none", "half", "path", "last"):
        eager = values(found["eager"], arm)
        assert np.array_equal(eager, values(found["recorded"], arm))
        assert np.allclose(eager, values(found["together"], arm), atol=2e-5)
    for arm in ("none", "half"):  # branches of other arms, at 0, change no bit
        assert np.array_equal(values(found["eager"], arm), values(alone, arm))
    for arm in ("path", "last"):
        assert not np.array_equal(values(found["eager"], arm), values(found["eager"], "none"))
    stored = load(tmp_path / "eager").recipe
    assert stored.arm("path") == PATH


def test_rows_are_those_of_a_loop_in_plain_torch(tmp_path):
    asked = recipe(NONE, PATH, seeds=(3,))
    found = run(asked, tmp_path / "run", plan=EAGER)
    experiment = resolve(asked)
    train, validation = experiment.splits.train, experiment.splits.validation
    model = initial_model(Net, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    keys = [mask_key(3, f"path/blocks.{i}") for i in range(2)]
    x, y = train.inputs.float() / 255, train.targets
    step, losses = 0, []
    for epoch in (1, 2):
        for rows in batch_order(3, epoch, len(train)).split(16):
            h = model.stem(x[rows].flatten(1))
            for block, key in zip(model.blocks, keys, strict=True):
                kept = drop_path(torch.ones(len(rows)), 0.3, key=torch.tensor([key, step << 16]))
                h = h + block(h) * kept[:, None]
            loss = F.cross_entropy(model.head(h), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        with torch.no_grad():
            logits = model(validation.inputs.float() / 255)
            losses.append(F.cross_entropy(logits, validation.targets).item())
    mine = [row.values["val_loss"] for row in found.rows if row.arm == "path"]
    assert mine == pytest.approx(losses, rel=1e-5)


def test_a_sweep_over_the_rate_of_all_branches(tmp_path):
    x, y = torch.randn(60, 64), torch.randint(0, 10, (60,))
    options = {"seeds": 1, "epochs": 1, "batch_size": 16, "execution": EAGER}
    found = droplab.sweep(
        Net, (x, y), (x, y), rates=[0.2], kind="path", out=tmp_path / "run", **options
    )
    assert [(arm.name, arm.rates, arm.kind) for arm in found.run.recipe.arms] == [
        ("none", {}, None),
        ("0.2", {"*": 0.2}, "path"),
    ]
    with pytest.raises(ArgumentError, match="independent: expected one rate for all"):
        droplab.sweep(Net, (x, y), (x, y), rates=[0.2], kind="path", independent=True, **options)


def test_a_loop_of_ones_own_drops_branches(tmp_path):
    mine = study(
        tmp_path / "study",
        arms=[PATH, NONE, HALF],
        seeds=[0],
        metrics={"val_loss": "lower"},
        quiet=True,
    )
    x, y, fired = torch.randn(32, 64), torch.randint(0, 10, (32,)), {}

    def fit(trial):
        model = trial.place(Net(), example=x[:2])
        hooks = [hook for each in model.modules() for hook in placement._hook.site_hooks(each)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in trial.epochs(2):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trial.report(val_loss=loss.item())
        fired[trial.arm] = {hook.name: float(hook.p) for hook in hooks}

    mine.run(fit)
    branches = {"path/blocks.0": 0.3, "path/blocks.1": 0.3}
    assert fired["path"] == {"head": 0.0, **branches}
    assert fired["half"] == {"head": 0.5, **dict.fromkeys(branches, 0.0)}
    assert fired["none"] == dict.fromkeys(["head", *branches], 0.0)


def test_arms_that_mean_no_branch_are_refused():
    with pytest.raises(PlacementError, match=r"arms.x: rates: 'block.0' matches no site; did you"):
        resolve(recipe(NONE, Arm("x", {"block.0": 0.1}, "path")))
    plain = recipe(NONE, PATH)
    plain = type(plain)(**{**vars(plain), "model": ModelSpec("mlp", {"in_features": 64})})
    with pytest.raises(PlacementError, match=r"arms.path: kind: 'path' drops residual branches"):
        resolve(plain)
