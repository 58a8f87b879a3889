"""Convolutions with their channels last in memory: the same training, and the same bits again."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from torch import nn

from droplab.data import Split, Splits
from droplab.errors import ArgumentError
from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe
from droplab.studies import _layout, run
from droplab.studies._experiment import BuildOptimizer
from droplab.studies._layout import choose_layout
from droplab.studies._resolve import assemble
from droplab.train import ExecutionPlan
from tests.unit.studies.people import Stop

USUAL = ExecutionPlan(1, captured=True)
LAST = dataclasses.replace(USUAL, channels_last=True)


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 3),
        )


class Viewing(Net):
    """Asks for the usual layout, as many a tutorial does."""

    def forward(self, x):
        for module in list(self)[:6]:
            x = module(x)
        return self[7](x.view(len(x), -1))


def experiment(build=Net, **changes):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 3, (90,), generator=generator)
    train, validation = Split(inputs[:60], targets[:60]), Split(inputs[60:], targets[60:])
    recipe = Recipe(
        name="small",
        data=DataSpec(function="tests:data"),
        model=ModelSpec("tests:Net"),
        optimizer=OptimizerSpec("Adam", {"lr": 0.003}),
        epochs=3,
        batch_size=16,
        seeds=(0, 1),
        arms=(Arm("none"), Arm("half", {"4": 0.5, "7": 0.5})),
        **changes,
    )
    about = {"name": "random", "source": "here", "checksum": ""}
    optimizer = BuildOptimizer(recipe.optimizer)
    return assemble(
        recipe, Splits(train, validation, validation), about, ("a", "b", "c"), build, optimizer
    )


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with the channels last, its steps recorded or not, made once each."""

    @functools.cache
    def made(captured):
        plan = dataclasses.replace(LAST, captured=captured)
        return run(experiment(), tmp_path_factory.mktemp("whole") / "run", plan=plan)

    return made


@pytest.mark.parametrize("captured", [False, True])
def test_both_layouts_train_alike(tmp_path, whole, captured):
    usual = dataclasses.replace(USUAL, captured=captured)
    one = run(experiment(), tmp_path / "usual", plan=usual)
    two = whole(captured)
    for a, b in zip(one.rows, two.rows, strict=True):
        for name in ("train_loss_running", "train_loss", "val_loss"):
            assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-3)
    for a, b in zip(one.tests, two.tests, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-3)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(tmp_path, whole, captured, rows):
    plan, whole = dataclasses.replace(LAST, captured=captured), whole(captured)
    with pytest.raises(KeyboardInterrupt):
        run(experiment(), tmp_path / "part", plan=plan, observer=Stop(rows))
    resumed = run(experiment(), tmp_path / "part", resume=True)
    assert content(resumed) == content(whole)
    assert resumed.tests == whole.tests


def test_the_weights_lie_as_the_plan_says():
    arm = experiment().recipe.arms[1]
    weight = experiment().replica(arm, 0, channels_last=True).model[4].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert experiment().replica(arm, 0).model[4].weight.is_contiguous()


def with_costs(monkeypatch, *costs):
    """Replace the measuring of the usual layout and the other one."""

    def time_turns(candidates, *, seconds, rounds=1):
        return [cost / each.replicas for cost, each in zip(costs, candidates, strict=True)]

    monkeypatch.setattr(_layout, "time_turns", time_turns)


def test_the_faster_layout_is_taken(monkeypatch):
    found = experiment()
    with_costs(monkeypatch, 1.0, 0.7)
    assert choose_layout(found, found.recipe.arms, USUAL) == LAST
    with_costs(monkeypatch, 1.0, 0.97)
    assert choose_layout(found, found.recipe.arms, USUAL) == LAST
    for slower in (1.0, 1.03):
        with_costs(monkeypatch, 1.0, slower)
        assert choose_layout(found, found.recipe.arms, USUAL) == USUAL


def test_a_group_is_given_up_where_each_is_faster_by_itself(monkeypatch):
    found = experiment()
    group = dataclasses.replace(USUAL, group=4)
    with_costs(monkeypatch, 4.0, 0.9)
    plan = choose_layout(found, found.recipe.arms, group)
    assert plan.group == 1
    assert plan.channels_last
    assert "channels last" in plan.reason
    with_costs(monkeypatch, 4.0, 1.1)
    assert choose_layout(found, found.recipe.arms, group) == group


def test_a_model_that_asks_for_the_usual_layout_keeps_it(monkeypatch):
    with_costs(monkeypatch, 1.0, 0.1)
    found = experiment(Viewing)
    plan = ExecutionPlan(1)
    assert choose_layout(found, found.recipe.arms, plan) == plan


def test_a_network_without_convolutions_is_not_measured(monkeypatch):
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))

    monkeypatch.delattr(_layout, "time_turns")
    found = experiment()
    found = dataclasses.replace(found, build=build, rates={"none": {}, "half": {"3": 0.5}})
    assert choose_layout(found, found.recipe.arms, USUAL) == USUAL


def test_a_group_has_no_such_layout():
    with pytest.raises(ArgumentError, match="expected replicas by themselves, got a group of 2"):
        ExecutionPlan(1, group=2, channels_last=True)
