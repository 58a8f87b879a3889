"""Examples with a weight each: the loss is their weighted mean, in every executor."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.data import Split
from droplab.errors import ArgumentError, DataError
from droplab.recipe import LossSpec
from droplab.studies import run
from droplab.train import ExecutionPlan, batch_order, initial_model
from tests.unit.studies.people import people_recipe

RECORDED = ExecutionPlan(1, captured=True)
PLANS = [ExecutionPlan(1), RECORDED, dataclasses.replace(RECORDED, group=4)]
NAMES = ["eager", "recorded", "together"]
OUTPUTS = {"classification": 3, "binary": 1, "regression": 1, "multilabel": 2}


def split(task, count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    noisy = x[:, :2] + 0.3 * torch.randn(count, 2, generator=generator)
    targets = {
        "classification": (noisy[:, 0] > 0).long() + (noisy[:, 0] > 1).long(),
        "binary": (noisy[:, 0] > 0).long(),
        "regression": noisy[:, 0],
        "multilabel": (noisy > 0).float(),
    }[task]
    return Split(x, targets, torch.rand(count, generator=generator) * 3)


def net(task):
    return lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, OUTPUTS[task]))


def swept(task, out="run", **more):
    options = {"rates": [0.5], "seeds": 2, "epochs": 2, "batch_size": 16, "task": task, "out": out}
    return droplab.sweep(net(task), split(task, 60, 0), split(task, 30, 1), **{**options, **more})


def losses(task, outputs, targets):
    if task == "classification":
        return F.cross_entropy(outputs, targets, reduction="none")
    if task == "regression":
        return (outputs.squeeze(1) - targets).square()
    outputs = outputs.squeeze(1) if task == "binary" else outputs
    found = F.binary_cross_entropy_with_logits(outputs, targets.float(), reduction="none")
    return found if task == "binary" else found.mean(1)


def weighted(task, outputs, of):
    return (losses(task, outputs, of.targets) * of.weights).sum() / of.weights.sum()


@pytest.mark.parametrize("plan", PLANS, ids=NAMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_loss_is_the_weighted_mean_and_what_is_trained(task, plan, tmp_path):
    """The baseline of a seed is what a plain loop with these weights trains."""
    found = swept(task, tmp_path / "run", execution=plan)
    train, validation = split(task, 60, 0), split(task, 30, 1)
    model = initial_model(net(task), 0)
    optimizer = torch.optim.Adam(model.parameters())
    expected = []
    for epoch in (1, 2):
        for index in batch_order(0, epoch, 60).split(16):
            batch = Split(*(each[index] for each in (train.inputs, train.targets, train.weights)))
            optimizer.zero_grad()
            weighted(task, model(batch.inputs), batch).backward()
            optimizer.step()
        with torch.no_grad():
            expected.append(weighted(task, model(validation.inputs), validation).item())
    rows = [row for row in found.run.rows if (row.arm, row.seed) == ("none", 0)]
    assert [row.val_loss for row in rows] == pytest.approx(expected, rel=1e-3)


def test_scores_count_every_example_once(tmp_path):
    found = swept("classification", tmp_path / "run", also_measure=["balanced_accuracy"])
    validation = split("classification", 30, 1)
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    with torch.no_grad():
        right = found.model(validation.inputs).argmax(1) == validation.targets
    assert row.val_accuracy == pytest.approx(right.double().mean().item())


def test_class_weights_and_weights_of_examples_multiply(tmp_path):
    loss = LossSpec("cross_entropy", {"weight": (1.0, 2.0, 0.5)})
    found = swept("classification", tmp_path / "run", loss=loss)
    validation = split("classification", 30, 1)
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    with torch.no_grad():
        outputs = found.model(validation.inputs)
    weights = validation.weights * torch.tensor([1.0, 2.0, 0.5])[validation.targets]
    value = (losses("classification", outputs, validation.targets) * weights).sum() / weights.sum()
    assert row.val_loss == pytest.approx(value.item(), rel=1e-4)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    train, validation = split("regression", 60, 0), split("regression", 30, 1)
    bare = Split(validation.inputs, validation.targets)
    with pytest.raises(DataError, match="a weight for each example of every split, or of none"):
        droplab.sweep(net("regression"), train, bare, batch_size=16, out=tmp_path / "run")
    idle = Split(validation.inputs, validation.targets, torch.zeros(30))
    with pytest.raises(DataError, match=r"data.weights: .*, got 30 that weigh 0 in validation"):
        droplab.sweep(net("regression"), train, idle, batch_size=16, out=tmp_path / "run")
    with pytest.raises(ArgumentError, match=r"weights: expected float32 of shape \(30,\)"):
        Split(validation.inputs, validation.targets, torch.ones(29))


def test_a_column_of_a_table_weighs_its_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(120, 3, generator=generator)
    rows = [f"{x:.4f},{x + z:.4f},{abs(y):.4f},a" for x, y, z in numbers.tolist()]
    (tmp_path / "people.csv").write_text("\n".join(["age,price,weight,grade", *rows]))
    made = people_recipe(epochs=1, **{"data.weights": "weight"})
    found = run(made, "run", plan=PLANS[0])
    assert found.recipe.model.arguments["numeric"] == 1  # the weight is no input
    plain = run(people_recipe(epochs=1, **{"data.ignore": ["weight"]}), "plain", plan=PLANS[0])
    assert found.rows[0].val_loss != plain.rows[0].val_loss
    for wrong in ("grade", "price"):
        with pytest.raises(DataError, match=rf"data.weights: .*'{wrong}': expected numbers"):
            run(people_recipe(epochs=1, **{"data.weights": wrong, "data.ignore": []}), "wrong")
