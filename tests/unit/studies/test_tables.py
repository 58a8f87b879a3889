"""Tables from a recipe to the rows: the network of tables in every executor, and in plain torch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from droplab import data, models
from droplab.data import Split
from droplab.errors import DataError
from droplab.recipe import ModelSpec, dumps, loads, override
from droplab.studies import run, sweep_recipe
from droplab.studies._resolve import resolve
from droplab.train import ExecutionPlan, batch_order, initial_model
from tests.unit.studies.people import people_recipe, write_people

PLANS = [
    ExecutionPlan(1),
    ExecutionPlan(1, captured=True),
    ExecutionPlan(1, captured=True, group=4),
]
NAMES = ["eager", "recorded", "together"]


@pytest.fixture(autouse=True)
def people(tmp_path, monkeypatch):
    write_people(tmp_path)
    monkeypatch.chdir(tmp_path)


def rows(found):
    names = [name for name in found.recipe.metrics if name != "gap"]
    order = sorted(found.rows, key=lambda row: (row.arm, row.seed, row.epoch))
    return torch.tensor([[getattr(row, name) for name in names] for row in order])


@pytest.mark.parametrize("task", ["regression", "classification", "binary"])
def test_every_executor_measures_the_same(task):
    made = people_recipe("price" if task == "regression" else "grade", task=task)
    found = [run(made, name, plan=plan) for name, plan in zip(NAMES, PLANS, strict=True)]
    first, *others = map(rows, found)
    assert torch.isfinite(first).all()
    for other in others:
        torch.testing.assert_close(other, first, rtol=2e-3, atol=1e-4)


def test_the_baseline_is_what_plain_torch_trains():
    """The same weights and batches in a loop as people write it: the same validation errors."""
    made = resolve(people_recipe()).recipe
    found = run(people_recipe(), "run", plan=PLANS[0])
    splits = data.carve(data.load(made.data), made.data)
    assert isinstance(splits.train, Split)
    assert isinstance(splits.validation, Split)
    model = initial_model(lambda: models.build(made.model), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    errors = []
    for epoch in range(1, 4):
        model.train()
        for index in batch_order(0, epoch, len(splits.train)).split(32):
            optimizer.zero_grad()
            predicted = model(splits.train.inputs[index]).squeeze(1)
            nn.functional.mse_loss(predicted, splits.train.targets[index]).backward()
            optimizer.step()
        with torch.no_grad():
            predicted = model.eval()(splits.validation.inputs).squeeze(1)
        errors.append((predicted - splits.validation.targets).square().mean().sqrt().item())
    mine = [row.val_rmse for row in found.rows if (row.arm, row.seed) == ("none", 0)]
    assert mine == pytest.approx(errors, rel=1e-4)


def test_sizes_and_units_come_from_the_data_and_are_stored():
    found = run(people_recipe(), "run", plan=PLANS[0])
    arguments = found.recipe.model.arguments
    splits = data.carve(data.load(found.recipe.data), found.recipe.data)
    assert isinstance(splits.train, Split)
    assert (arguments["numeric"], arguments["categories"], arguments["outputs"]) == (2, (4,), 1)
    assert arguments["center"] == pytest.approx([splits.train.targets.double().mean().item()])
    assert loads(dumps(found.recipe)) == found.recipe
    again = run(
        people_recipe(), "run", resume=True
    )  # finished: the recipe is the one that it began with
    assert rows(again).equal(rows(found))


def test_a_sweep_finds_the_sites_of_the_network():
    arms = sweep_recipe(people_recipe(), [0.2]).arms
    assert dict(arms[1].rates) == {"fc2": 0.2, "fc3": 0.2}


def test_the_commonest_class_is_said():
    frame = pd.read_csv("people.csv")
    frame["grade"] = np.where(np.arange(250) % 10 == 0, "cheap", "dear")
    frame.to_csv("people.csv", index=False)
    notes = resolve(people_recipe("grade")).splits.notes
    assert any("90.0 % of the validation examples are of class 'dear'" in note for note in notes)


def test_no_network_for_tables_without_rows_of_numbers():
    with pytest.raises(DataError, match="'tabular' is a network for rows of numbers in memory"):
        resolve(people_recipe(**{"data.name": "digits", "data.validation": "test"}))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"numeric": -1}, "numeric: expected a whole number"),
        ({"numeric": 2, "categories": (0,)}, r"categories\[0\]: expected a whole number"),
        ({"numeric": 2, "outputs": 2, "center": (1.0,)}, "center: expected 2 numbers"),
    ],
)
def test_a_network_for_tables_says_what_is_wrong(arguments, text):
    with pytest.raises(Exception, match=text):
        models.build(ModelSpec("tabular", arguments))


@pytest.mark.parametrize(
    ("name", "task", "metric", "bound"),
    [
        ("load_breast_cancer", None, "val_accuracy", 0.93),
        ("load_wine", None, "val_accuracy", 0.93),
        ("load_diabetes", None, "val_r2", 0.3),
    ],
)
def test_real_tables_are_learned(name, task, metric, bound):
    """As well as a linear model does: 96 %, 97 % and 0.34 on these rows, or a little less."""
    datasets = pytest.importorskip("sklearn.datasets")
    getattr(datasets, name)(as_frame=True).frame.to_csv("people.csv", index=False)
    made = people_recipe("target")
    found = run(override(made, {"epochs": 15, "seeds": [0]}), "run", plan=PLANS[0])
    assert found.recipe.task == ("regression" if name == "load_diabetes" else None)
    last = max((row for row in found.rows if row.arm == "none"), key=lambda row: row.epoch)
    assert getattr(last, metric) > bound
