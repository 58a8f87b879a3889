"""`droplab.sweep` on somebody's own model and data, and the arms that a sweep makes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

import droplab
from droplab.data import Split
from droplab.errors import ArgumentError, DataError, PlacementError, RecipeError
from droplab.models import MLP
from droplab.recipe import load
from droplab.studies import Observer, SweepResult, parse_rates, sweep_recipe
from droplab.studies._design import sweep_arms
from droplab.train import ExecutionPlan, evaluate
from droplab.verdict import judge

PLAN = ExecutionPlan(1, captured=True, group=8)


def examples(count=90, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 12, generator=generator) + 0.5 * targets[:, None], targets


def net():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def small(factory=net, train=None, validation=None, **changes):
    options = {"rates": [0.2, 0.5], "seeds": 2, "epochs": 2, "batch_size": 16, "out": "run"}
    train = examples() if train is None else train
    validation = examples(40, 1) if validation is None else validation
    return droplab.sweep(factory, train, validation, **{**options, **changes})


def test_rows_verdict_plan_and_trained_model():
    found = small(execution=PLAN)
    assert isinstance(found, SweepResult)
    assert [arm.name for arm in found.run.recipe.arms] == ["none", "0.2", "0.5"]
    assert len(found.run.rows) == 3 * 2 * 2
    assert found.arm == found.verdict.best.arm
    assert found.plan == (
        {} if found.arm == "none" else {"2": float(found.arm), "4": float(found.arm)}
    )
    assert str(found) == str(found.verdict)
    assert repr(found.run) == f"RunResult({str(found.run.path)!r}, 3 arms x 2 seeds, 12 rows)"
    assert repr(found) == f"SweepResult(arm={found.arm!r}, drops={found.plan}, run={found.run!r})"
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    assert not found.model.training
    assert not any(module._forward_pre_hooks for module in found.model.modules())
    assert evaluate(found.model, Split(*examples(40, 1)))["loss"] == pytest.approx(
        row.val_loss, rel=1e-5
    )


def test_sweep_is_a_plain_function_whatever_was_imported_before():
    room = importlib.import_module("droplab.studies")
    assert inspect.isfunction(droplab.sweep)
    assert droplab.sweep is room.sweep
    assert list(inspect.signature(droplab.sweep).parameters)[:3] == [
        "model_factory",
        "train",
        "validation",
    ]


def test_ones_own_optimizer_and_data_set():
    items = list(zip(*examples(), strict=True))
    pairs = [(inputs, int(target)) for inputs, target in items]
    found = small(train=pairs, optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    assert found.run.recipe.optimizer.name == "SGD"
    assert found.run.recipe.optimizer.arguments["momentum"] == 0.9


def test_one_seed_runs_and_says_that_it_decides_nothing():
    found = small(seeds=1)
    assert len(found.run.rows) == 3 * 2
    assert any("seed" in caveat for caveat in found.verdict.caveats)


def test_an_interrupted_sweep_goes_on():
    first = small(execution=PLAN)
    again = small(resume=True)
    assert again.run.rows == first.run.rows


def test_a_factory_that_returns_the_same_object_twice():
    model = net()
    with pytest.raises(ArgumentError, match="the same object twice; build the model inside"):
        small(lambda: model)


def test_a_factory_that_shares_a_layer():
    layer = nn.Linear(12, 16)
    with pytest.raises(ArgumentError, match="two of them share"):
        small(lambda: nn.Sequential(layer, nn.ReLU(), nn.Linear(16, 3)))


def test_a_factory_that_builds_another_architecture_per_call():
    widths = itertools.count(8)

    def factory():
        width = next(widths)
        return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 3))

    with pytest.raises(
        ArgumentError, match=r"same architecture.*shape \(8, 12\).*at '0.weight'|at '"
    ):
        small(factory)


@pytest.mark.parametrize("factory", [net(), None, 3, "net"])
def test_what_is_no_factory(factory):
    with pytest.raises(ArgumentError, match="model_factory: expected a function"):
        small(factory)


def test_a_factory_of_something_else():
    with pytest.raises(ArgumentError, match=r"expected a torch\.nn\.Module, got int"):
        small(lambda: 3)


class Branching(nn.Module):
    """Its way depends on the numbers in its input."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(12, 8), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x):
        layer = self.one if self.one(x).sum() > 0 else self.two
        return self.head(layer(x).relu())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x.view(-1, 3, 4))[0][:, -1])


class Noisy(nn.Module):
    """Has dropout of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x):
        return self.body(x)


@pytest.mark.usefixtures("thorough")
@pytest.mark.parametrize("factory", [Branching, Recurrent])
def test_what_vmap_refuses_is_trained_alone_and_says_so(factory):
    found = small(factory, sites=["head"])
    assert len(found.run.rows) == 3 * 2 * 2
    assert found.run.plan["group"] == 1
    assert "torch.func.vmap refuses the model" in found.run.plan["reason"]


@pytest.mark.usefixtures("thorough")
def test_dropout_of_the_models_own_is_no_reason_to_train_alone():
    plan = small(Noisy, sites=["body.3"]).run.plan
    assert any(row["group"] > 1 and row["step"] for row in plan["tried"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": []}, "expected at least one rate"),
        ({"rates": [0.0]}, "got only 0"),
        ({"rates": [30]}, "percentage; did you mean 0.3"),
        ({"rates": "0:80:10"}, "percentage; did you mean 0.8"),
        ({"rates": [-0.1]}, "expected a drop probability"),
        ({"sites": ["9"]}, "9"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "expected different seeds"),
        ({"seeds": 0}, "at least one seed"),
        ({"epochs": 0}, "whole number of at least 1"),
        ({"batch_size": 100}, "at most the 90 training examples"),
        ({"optimizer": "Adan"}, "did you mean 'Adam'"),
        ({"optimizer": 3}, "optimizer: expected a name"),
        ({"kind": "channels"}, "did you mean 'channel'"),
        ({"train": (torch.zeros(4, 12), torch.zeros(5, dtype=torch.long))}, "train: inputs"),
        ({"train": 7}, "train: expected"),
        ({"validation": []}, "validation: expected at least one example"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises((ArgumentError, RecipeError, PlacementError), match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("0:0.8:0.1", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        ("0.5", (0.5,)),
        ("0.5, 0.2,0.5", (0.2, 0.5)),
        ("0:0.5:0.3", (0.0, 0.3)),
    ],
)
def test_rates(text, rates):
    assert parse_rates(text) == rates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one rate"),
        (",", "at least one rate"),
        ("0.5:0.2:0.1", "at least one rate"),
        ("0:0", "expected start:stop:step"),
        ("a,b", "expected start:stop:step"),
        ("0:0.8:0", "step above 0"),
        ("0:0.8:-0.1", "step above 0"),
        ("0:1:0.0001", "larger steps"),
        ("0:nan:0.1", "expected start:stop:step"),
        ("10,30", "percentage"),
        ("0,inf", "drop probability"),
    ],
)
def test_bad_rates(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_rates(text)


def test_a_grid_has_every_combination_once():
    arms = sweep_arms(MLP(4, (3, 3), 2), [0.2, 0.5], independent=True)
    assert [arm.name for arm in arms] == [
        "none", "0-0.2", "0-0.5", "0.2-0", "0.2-0.2", "0.2-0.5", "0.5-0", "0.5-0.2", "0.5-0.5",
    ]  # fmt: skip
    assert arms[5].rates == {"fc2": 0.2, "fc3": 0.5}
    assert sum(arm.is_baseline for arm in arms) == 1


def test_a_grid_that_is_too_large():
    with pytest.raises(ArgumentError, match="fewer rates, or name fewer"):
        sweep_arms(MLP(4, (3,) * 6, 2), [0.1, 0.2, 0.3], independent=True)


def test_a_model_without_a_place_for_dropout():
    with pytest.raises(ArgumentError, match="no linear, convolution or recurrent layer"):
        sweep_arms(nn.Sequential(nn.Flatten()), [0.5])


def test_only_some_sites():
    recipe = sweep_recipe(load("digits"), [0.3], sites=["fc1", "fc3"])
    assert recipe.arms[1].rates == {"fc1": 0.3, "fc3": 0.3}
    assert recipe.name == "digits-sweep"


class Wavering(torch.utils.data.Dataset):
    """Items that differ when they are asked for twice."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.randn(12), index % 3


def test_what_is_odd_about_the_data_is_stored_and_told():
    """On the terminal before training, with the run, and beside its verdict."""
    told = []

    class Listener(Observer):
        def noted(self, note):
            told.append(note)

    found = small(validation=Wavering(), observer=Listener())
    assert len(told) == 1
    assert told[0].startswith("The validation items differ when they are asked for twice")
    assert json.loads(found.run.notes["data"])["notes"] == told
    assert told[0] in found.verdict.caveats
    assert found.run.plan["group"] == 1


def test_the_data_of_the_caller_is_not_called_a_test_split():
    found = small(execution=PLAN)
    assert not any("test split" in caveat for caveat in found.verdict.caveats)
    earlier = {
        k: v
        for k, v in json.loads(found.run.notes["data"]).items()
        if k not in ("validated_on", "notes")
    }
    before = dataclasses.replace(found.run, notes={"data": json.dumps(earlier)})
    assert not any("test split" in caveat for caveat in judge(before).caveats)
    assert any("none here that did not choose" in caveat for caveat in judge(before).caveats)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: y - 1, "train: .* got -1 .* no label"),
        (lambda y: y * 0 + 5, "train labels: .* got only 5"),
        (lambda y: y + 2_000_000_000, "train: .* column of ids"),
        (lambda y: y.numpy().astype("u8") + 2**63, "train: .* got 9223372036854775"),
        (lambda y: np.array(["a", "b", "c"])[y], "train: .* got names"),
    ],
)
def test_labels_that_are_no_class_numbers(labels, message):
    inputs, targets = examples()
    with pytest.raises(DataError, match=message):
        small(train=(inputs, labels(targets)))


def test_quantities_ask_for_one_prediction_an_example():
    inputs, targets = examples()
    words = r"one prediction an example, of shape .* \(task = 'regression'\), got \(2, 3\)"
    with pytest.raises(ArgumentError, match=words):
        small(train=(inputs, targets + 0.5))


def test_labels_that_begin_at_one():
    (x, y), (x2, y2) = examples(), examples(40, 1)
    with pytest.raises(DataError, match=r"train labels: .* begin at 1 .1 to 3.; subtract 1"):
        small(train=(x, y + 1), validation=(x2, y2 + 1))


def test_floats_that_are_class_numbers_and_lists_are_taken():
    inputs, targets = examples()
    one = small(train=(inputs, targets.double()), out="one", execution=PLAN)
    two = small(train=(inputs.tolist(), targets.tolist()), out="two", execution=PLAN)
    assert [row.val_loss for row in one.run.rows] == [row.val_loss for row in two.run.rows]


def test_inputs_that_are_no_numbers():
    _, targets = examples()
    with pytest.raises(DataError, match="train inputs: expected an array of numbers, got dtype <U"):
        small(train=(np.array(["a"] * len(targets)), targets))
    with pytest.raises(DataError, match=r"train: expected inputs of one shape \(N, ...\)"):
        small(train=([[1.0], [1.0, 2.0]], [0, 1]))
