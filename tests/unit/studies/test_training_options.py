"""Mini-batches of a step, bfloat16, parameter groups and plateaus: in recipes and sweeps."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import droplab
from droplab.errors import ArgumentError, RecipeError
from droplab.recipe import GroupSpec, OptimizerSpec, load, override
from droplab.studies import resolve, run
from droplab.studies._planning import choose_plan
from droplab.studies._stored_plans import plan_key
from droplab.train import EagerStep, ExecutionPlan, batch_order, evaluate, initial_model
from droplab.train.precision import check_precision
from droplab.verdict import judge
from tests.unit.studies.people import Stop

PLANS = {
    "alone": ExecutionPlan(1),
    "together": ExecutionPlan(1, captured=True, group=2),
}
ARMS = [{"name": "none"}, {"name": "some", "rates": {"fc1": 0.2, "fc2": 0.3, "fc3": 0.3}}]
OPTIONS = {
    "accumulate": {"accumulate": 3, "clip": 1.5},
    "bfloat16": {"precision": "bfloat16"},
    "groups": {
        "optimizer.groups": [{"match": "fc1.*", "lr": 1e-4}, {"match": "*2.bias", "lr": 0.1}]
    },
}
PLATEAU = {"scheduler.name": "ReduceLROnPlateau", "scheduler.patience": 0, "epochs": 6}


def tiny(**changes):
    small = {"epochs": 3, "seeds": [0, 1], "data.train": 190, "arms": ARMS}
    small["data.validation"] = 200
    return override(load("digits"), small | changes)


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_interrupted_run_goes_on_to_the_same_bits_alone_and_together(tmp_path, option):
    few = {"data.train": 130}  # six mini-batches of 20 and one of 10
    runs, recipe = {}, tiny(**few, **OPTIONS[option])
    for name, plan in PLANS.items():
        runs[name] = run(recipe, tmp_path / name, plan=plan)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / f"{name}-part", plan=plan, observer=Stop(5))
        resumed = run(recipe, tmp_path / f"{name}-part", resume=True)
        assert content(resumed) == content(runs[name])
        assert resumed.tests == runs[name].tests
    plain = run(tiny(**few), tmp_path / "plain", plan=PLANS["alone"])
    for one, two, three in zip(*(each.rows for each in (*runs.values(), plain)), strict=True):
        assert one.val_loss == pytest.approx(two.val_loss, rel=2e-2)
        assert one.val_loss != three.val_loss


def test_an_epoch_has_fewer_steps(tmp_path):
    assert resolve(tiny()).steps_an_epoch == 10
    gathered = tiny(accumulate=3)
    assert resolve(gathered).steps_an_epoch == 4  # 60, 60, 60 and 10 examples
    assert resolve(tiny(accumulate=100)).steps_an_epoch == 1
    cycle = {"scheduler.name": "OneCycleLR", "scheduler.max_lr": 0.01, "scheduler.total_steps": 12}
    run(tiny(accumulate=3, **cycle), tmp_path / "x", arms=["none"])
    with pytest.raises(ArgumentError, match="12 times in this run"):
        resolve(tiny(accumulate=3, **{**cycle, "scheduler.total_steps": 30}))


def test_one_mini_batch_a_step_is_no_option():
    assert tiny(accumulate=1).digest == tiny().digest == tiny(precision="float32").digest


def test_it_is_said_where_a_recipe_is_shown(tmp_path):
    result = run(tiny(accumulate=3, precision="bfloat16"), tmp_path / "x", arms=["none"])
    page = droplab.render(result, judge(result))
    assert "mini-batches of 20, 3 of them a step" in page
    assert "forward in bfloat16, by autocast" in page


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        hidden = torch.relu(self.norm(self.one(x.flatten(1))))
        return {"logits": self.two(hidden), "hidden": hidden}

class Counting(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return {"logits": super().forward(x)["logits"] * self.calls}
"""


def test_a_model_of_ones_own_in_bfloat16_is_recorded_and_trains_together(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arms = [{"name": "none"}, {"name": "half", "rates": {"two": 0.5}}]
    model = {"model": {"path": "my_nets:Net"}, "arms": arms}
    recipe = tiny(precision="bfloat16", accumulate=2, **model)
    plans = {"alone": ExecutionPlan(1, captured=True), "together": PLANS["together"]}
    found = [run(recipe, tmp_path / name, plan=plan) for name, plan in plans.items()]
    for one, two in zip(*(each.rows for each in found), strict=True):
        assert one.val_loss == pytest.approx(two.val_loss, rel=2e-2)
    wrong = tiny(precision="bfloat16", **{**model, "model": {"path": "my_nets:Counting"}})
    for plan, reason in zip(plans.values(), ("recorded, and those", "together"), strict=True):
        with pytest.raises(ArgumentError, match=reason):
            run(wrong, tmp_path / "wrong", plan=plan)


@pytest.mark.parametrize("option", [{"accumulate": 2}, {"precision": "bfloat16"}])
def test_such_steps_are_not_compiled(tmp_path, option):
    plan = ExecutionPlan(1, captured=True, compiled=True)
    with pytest.raises(ArgumentError, match="plan: it compiles its steps, and no C is known for"):
        run(tiny(**option), tmp_path / "x", plan=plan)


def test_other_options_have_other_plans():
    keys = {
        plan_key(resolve(tiny(**each)), tiny().arms, "cpu")
        for each in ({}, {"accumulate": 3}, {"precision": "bfloat16"})
    }
    assert len(keys) == 3


def test_a_device_that_cannot_is_refused_before_a_folder_is_made(tmp_path, monkeypatch):
    """As a card without bfloat16 is: the answers of torch are taken from its place."""

    class Old:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(torch.cuda, "device", Old)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    with pytest.raises(ArgumentError, match="computes in bfloat16, got Tesla P100"):
        check_precision("bfloat16", "cuda")
    check_precision(None, "cuda")
    check_precision("bfloat16", "cpu")
    plan = ExecutionPlan(1, device="cuda")
    with pytest.raises(ArgumentError, match="Tesla P100"):
        run(tiny(precision="bfloat16"), tmp_path / "x", plan=plan)
    assert not (tmp_path / "x").exists()


def own():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def test_a_sweep_with_both(tmp_path):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (80,), generator=generator)
    inputs = torch.randn(80, 4, generator=generator) + targets[:, None]
    options = {"rates": [0.5], "seeds": 2, "epochs": 2, "batch_size": 8}
    found = droplab.sweep(
        own,
        (inputs[:60], targets[:60]),
        (inputs[60:], targets[60:]),
        **options,
        accumulate=2,
        precision="bfloat16",
        out=tmp_path / "x",
    )
    assert (found.run.recipe.accumulate, found.run.recipe.precision) == (2, "bfloat16")
    assert found.model(inputs).dtype == torch.float32
    assert "forward" not in vars(found.model)  # an ordinary module, in float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 0}, "accumulate: expected a whole number of at least 1, got 0"),
        ({"accumulate": 2.5}, "accumulate: expected a whole number of at least 1, got 2.5"),
        ({"precision": "float16"}, "precision: expected 'bfloat16', got 'float16', whose grad"),
        ({"precision": "bf16"}, "precision: expected 'bfloat16', got 'bf16'; leave it out"),
        ({"accumulate": 2, "batch_size": 500}, "batch_size: expected at most the 190 training"),
    ],
)
def test_bad_options(changes, message):
    with pytest.raises(RecipeError, match=message):
        resolve(tiny(**changes))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"match": "fc1.*"}], r"optimizer.groups\[0\]: expected an argument that is another one"),
        ([{"lr": 1.0}], r"optimizer.groups\[0\].match: this key is required"),
        (
            [{"match": 3, "lr": 1.0}],
            r"optimizer.groups\[0\].match: expected a pattern over the names",
        ),
        ([{"match": "a", "lr": {1: 2}}], r"optimizer.groups\[0\].lr.*: expected"),
        ("fc1", "optimizer.groups: expected a list of tables, got 'fc1'"),
        ([3], r"optimizer.groups\[0\]: expected a table, got 3"),
    ],
)
def test_groups_that_are_none_are_told_where_they_stand(groups, message):
    with pytest.raises(RecipeError, match=message):
        tiny(**{"optimizer.groups": groups})


def test_groups_are_shown_and_sweeps_take_them(tmp_path):
    result = run(tiny(**OPTIONS["groups"]), tmp_path / "x", arms=["none"])
    assert "&#39;fc1.*&#39;: lr=0.0001" in droplab.render(result, judge(result))
    inputs, targets = torch.randn(40, 4), torch.arange(40) % 2
    spec = OptimizerSpec("SGD", {"lr": 0.1}, (GroupSpec("0.*", {"lr": 0.0}),))
    options = {"rates": [0.5], "seeds": 2, "epochs": 1, "batch_size": 8, "optimizer": spec}
    found = droplab.sweep(
        own, (inputs, targets), (inputs, targets), **options, out=tmp_path / "sweep"
    )
    built = initial_model(own, 0)
    assert torch.equal(found.model[0].weight, built[0].weight)
    assert not torch.equal(found.model[2].weight, built[2].weight)


def plateau_by_hand(recipe, arm, seed):
    """torch's own scheduler beside a model of the experiment, stepped on the same metric."""
    experiment = resolve(recipe)
    replica = experiment.replica(recipe.arm(arm), seed)
    metric = recipe.metrics[recipe.primary]
    mode = "max" if metric.higher_is_better else "min"
    arguments = recipe.scheduler.arguments
    clock = torch.optim.lr_scheduler.ReduceLROnPlateau(replica.optimizer, mode, **arguments)
    step, number, rates = EagerStep(replica.model, replica.optimizer), 0, []
    train, validation = experiment.splits.train, experiment.splits.validation
    for epoch in range(1, recipe.epochs + 1):
        rates.append(replica.optimizer.param_groups[0]["lr"])
        replica.model.train()
        for batch in train.batches(batch_order(seed, epoch, len(train)), recipe.batch_size):
            replica.applied.set_step(number)
            step(*batch)
            number += 1
        clock.step(evaluate(replica.model, validation)[metric.name.removeprefix("val_")])
    return rates, evaluate(replica.model, validation)["loss"]


@pytest.mark.parametrize("primary", ["val_loss", "val_accuracy"])
def test_a_plateau_of_the_primary_metric_lowers_the_learning_rate_of_a_replica(tmp_path, primary):
    strict = {**PLATEAU, "scheduler.threshold": 0.06, "primary": primary, "epochs": 8}
    recipe = tiny(**strict)
    result = run(recipe, tmp_path / "x", plan=PLANS["alone"])
    last = {(row.arm, row.seed): row.val_loss for row in result.rows if row.epoch == 8}
    found = {name: plateau_by_hand(recipe, *name) for name in last}
    for name, (_, loss) in found.items():
        assert last[name] == pytest.approx(loss, rel=1e-6), name
    seen = {tuple(rates) for rates, _ in found.values()}
    assert len(seen) > 1  # they did not all fall at once
    assert any(rates[-1] < rates[0] for rates in seen)


def test_a_plateau_goes_on_after_a_break_to_the_same_bits(tmp_path):
    recipe = tiny(**PLATEAU, **{"scheduler.threshold": 0.06})
    whole = run(recipe, tmp_path / "whole", plan=PLANS["alone"])
    for rows in (3, 9):
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / f"{rows}", plan=PLANS["alone"], observer=Stop(rows))
        assert content(run(recipe, tmp_path / f"{rows}", resume=True)) == content(whole)


@pytest.mark.usefixtures("thorough")
def test_replicas_with_a_plateau_train_alone_and_it_is_said():
    experiment = resolve(tiny(**PLATEAU))
    plan = choose_plan(experiment, again=True)
    assert plan.group == 1
    assert plan.reason == "the learning rate of each follows its own val_loss"


def test_a_plateau_refuses_a_plan_for_groups_and_has_plans_of_its_own(tmp_path):
    with pytest.raises(ArgumentError, match="these cannot be: the learning rate of each follows"):
        run(tiny(**PLATEAU), tmp_path / "x", plan=PLANS["together"])
    assert resolve(tiny(**PLATEAU)).why_apart
    step = {**PLATEAU, "scheduler.name": "StepLR", "scheduler.step_size": 2}
    del step["scheduler.patience"]
    keys = [plan_key(resolve(tiny(**each)), tiny().arms, "cpu") for each in (PLATEAU, step)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler.mode": "min"}, "scheduler.mode: expected none"),
        ({"scheduler.every": "step"}, "scheduler.every: expected 'epoch', got 'step'"),
        ({"scheduler.patience": "long"}, "scheduler: .* refused"),
        ({"scheduler.patients": 3}, "scheduler.patients: .* did you mean 'patience'"),
        ({"scheduler.factor": 1.5}, "Factor should be < 1.0"),
    ],
)
def test_bad_plateaus(changes, message):
    with pytest.raises(ArgumentError, match=message):
        resolve(tiny(**{**PLATEAU, **changes}))
