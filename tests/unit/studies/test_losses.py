"""Losses by name, by import path and as a function, from a recipe to the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.errors import ArgumentError, DroplabError, RecipeError
from droplab.recipe import LOSSES, LossSpec, dumps, load, loads, override
from droplab.studies._resolve import resolve
from droplab.train import ExecutionPlan

PLANS = [ExecutionPlan(1), ExecutionPlan(1, captured=True, group=4)]


def net(outputs):
    return lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


def examples(kind, count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    noisy = x[:, 0] + 0.3 * torch.randn(count, generator=generator)
    return x, noisy if kind == "regression" else ((noisy > 0).long() + (noisy > 1).long())


def small(task, loss, **more):
    data = examples(task, 60, 0), examples(task, 30, 1)
    factory = net(1 if task == "regression" else 3)
    options = {"rates": [0.5], "seeds": 2, "epochs": 2, "batch_size": 16, "out": "run"}
    return droplab.sweep(factory, *data, task=task, loss=loss, **{**options, **more})


LOSSES_OF = {
    "mse": (LossSpec("mse"), F.mse_loss),
    "l1": ("l1", F.l1_loss),
    "huber": (LossSpec("huber", {"delta": 0.3}), lambda o, y: F.huber_loss(o, y, delta=0.3)),
    "pinball": (
        LossSpec("pinball", {"q": 0.9}),
        lambda o, y: torch.where(y > o, 0.9 * (y - o), 0.1 * (o - y)).mean(),
    ),
    "own": (lambda o, y: (o - y).pow(4), lambda o, y: (o - y).pow(4).mean()),
}


@pytest.mark.parametrize("plan", PLANS, ids=["alone", "together"])
@pytest.mark.parametrize("name", LOSSES_OF)
def test_the_loss_of_a_row_is_the_one_that_was_asked_for(name, plan):
    loss, expected = LOSSES_OF[name]
    found = small("regression", loss, execution=plan)
    inputs, targets = examples("regression", 30, 1)
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    with torch.no_grad():
        value = expected(found.model(inputs).squeeze(1), targets).item()
    assert row.val_loss == pytest.approx(value, rel=1e-4)
    assert row.val_rmse >= row.val_mae > 0


def test_balanced_weights_are_resolved_from_the_training_targets_and_stored():
    found = small("classification", LossSpec("cross_entropy", {"weight": "balanced"}))
    _, targets = examples("classification", 60, 0)
    counts = torch.bincount(targets).double()
    stored = found.run.recipe.loss.arguments["weight"]
    assert stored == pytest.approx((60 / (3 * counts)).tolist())
    assert loads(dumps(found.run.recipe)) == found.run.recipe
    inputs, labels = examples("classification", 30, 1)
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    with torch.no_grad():
        weight = torch.tensor(stored, dtype=torch.float32)
        value = F.cross_entropy(found.model(inputs), labels, weight).item()
    assert row.val_loss == pytest.approx(value, rel=1e-4)


def test_weights_by_class_name(tmp_path):
    inputs, targets = examples("classification", 60, 0)
    names = np.array(["cat", "dog", "eel"])[targets]
    np.savez(tmp_path / "pets.npz", x=inputs.numpy(), y=names)
    recipe = loads(
        f"""
        epochs = 1
        batch_size = 16
        data = {{path = "{tmp_path / "pets.npz"}", validation = 20}}
        model = {{path = "mlp", in_features = 4, hidden = [8], classes = 3}}
        optimizer = {{name = "Adam"}}
        loss = {{name = "cross_entropy", weight = {{eel = 4.0}}}}
        arms = [{{name = "none"}}, {{name = "half", rates = {{fc2 = 0.5}}}}]
        """,
        name="pets",
    )
    assert resolve(recipe).recipe.loss.arguments["weight"] == (1.0, 1.0, 4.0)
    wrong = override(recipe, {"loss.weight": {"eeel": 4.0}})
    with pytest.raises(ArgumentError, match=r"loss.weight.eeel: no class .* did you mean 'eel'"):
        resolve(wrong)


@pytest.mark.parametrize(
    ("task", "loss", "message"),
    [
        ("classification", LossSpec("cross_entropy", {"weight": [1, 2]}), "each of the 3 classes"),
        (
            "classification",
            LossSpec("cross_entropy", {"weight": {"7": 2}}),
            "7: no class of this",
        ),
        (
            "classification",
            "huber",
            "a loss of classification, got 'huber'; it is a loss of r",
        ),
        ("regression", "cross_entropy", "and of regression there is mse or l1 or h"),
        ("binary", "cross_entropy", "got 'cross_entropy'; .*, and of binary there is bce"),
        ("regression", "hubre", "did you mean 'huber'"),
        (
            "regression",
            lambda o, y: ((o - y) ** 2).mean(),
            "got one number for the batch; take",
        ),
        (
            "regression",
            lambda o, y: (o - y).flatten() * float("nan"),
            "expected finite numbers of the model before training, got nan",
        ),
        (
            "classification",
            lambda o, y: (o.argmax(1) != y).float(),
            "operations with a gradient, got some without; leave out argmax",
        ),
        ("regression", nn.MSELoss, "loss: expected a name, a LossSpec or a function"),
        ("regression", "no_such_module:loss", "no_such_module"),
    ],
)
def test_a_loss_that_does_not_fit(task, loss, message):
    with pytest.raises(DroplabError, match=message):
        small(task, loss)


def test_a_plan_that_compiles_is_refused_for_what_there_is_no_c_for():
    plan = ExecutionPlan(1, captured=True, compiled=True)
    with pytest.raises(ArgumentError, match="it compiles its steps, and no C is known"):
        small("regression", None, execution=plan)


def test_classes_that_are_not_there_cannot_be_balanced():
    inputs, targets = examples("classification", 60, 0)
    spec = LossSpec("cross_entropy", {"weight": "balanced"})
    pair = inputs, targets
    with pytest.raises(ArgumentError, match=r"of every class, .* got none of '3'; give"):
        droplab.sweep(net(4), pair, pair, loss=spec, rates=[0.5], batch_size=16, out="r")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing: expected a number from 0"),
        ("cross_entropy", {"weight": []}, "weight: expected a weight"),
        ("cross_entropy", {"weight": [-1.0, 2]}, "weight: expected a weight"),
        ("cross_entropy", {"weight": "even"}, "weight: expected .* or 'balanced', got 'even'"),
        ("cross_entropy", {"ignore_index": 0.5}, "ignore_index: expected a whole number"),
        (
            "cross_entropy",
            {"smoothing": 0.1},
            "unknown argument .* mean 'label_smoothing'",
        ),
        ("huber", {"delta": 0}, "huber.delta: expected a number above 0"),
        ("pinball", {"q": 1}, "pinball.q: expected a quantile"),
        ("mse", {"q": 1}, "mse: unknown argument 'q'; it has no arguments"),
        ("my losses:x", {}, "expected an import path"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(name, arguments, message):
    with pytest.raises(RecipeError, match=message):
        LossSpec(name, arguments)


def test_a_loss_is_part_of_the_experiment():
    recipe = load("digits")
    smooth = override(recipe, {"loss.name": "cross_entropy", "loss.label_smoothing": 0.1})
    assert smooth.digest != recipe.digest
    assert loads(dumps(smooth)) == smooth
    assert set(LOSSES) == {"cross_entropy", "bce", "mse", "l1", "huber", "pinball"}


def test_a_loss_of_ones_own_that_fails_is_said_with_the_shapes_it_got():
    with pytest.raises(
        ArgumentError, match=r"^loss: cannot take outputs of shape \(2,\) .* too many indices"
    ):
        small("regression", lambda o, y: (o[:, 0] - y) ** 2)


@pytest.mark.parametrize("form", ["items", "tensors"])
def test_zeros_and_ones_as_floats_are_the_classes_of_a_binary_task(form):
    inputs, targets = examples("regression", 60, 0)
    bits = (targets > 0).float()
    if form == "tensors":
        bits = bits[:, None]
    part = torch.utils.data.TensorDataset(inputs, bits)
    options = {"rates": [0.5], "seeds": 2, "epochs": 1, "batch_size": 16}
    found = droplab.sweep(net(1), part, part, task="binary", **options)
    assert list(found.run.metrics) == list(found.run.recipe.metrics)
    assert found.run.rows[0].val_auroc > 0


@pytest.mark.parametrize("plan", PLANS, ids=["alone", "together"])
def test_positive_targets_weigh_as_torch_has_it(plan):
    x, _ = examples("regression", 60, 0)
    y = torch.stack(((x[:, 0] > 1).float(), (x[:, 1] > 0).float()), dim=1)
    weights = (1 - y.mean(0)) / y.mean(0)
    found = droplab.sweep(
        net(2),
        (x[:40], y[:40]),
        (x[40:], y[40:]),
        rates=[0.5],
        seeds=2,
        epochs=2,
        batch_size=16,
        task="multilabel",
        loss=LossSpec("bce", {"pos_weight": "balanced"}),
        execution=plan,
        out="run",
    )
    weights = (1 - y[:40].mean(0)) / y[:40].mean(0)
    assert found.run.recipe.loss.arguments["pos_weight"] == pytest.approx(weights.tolist())
    row = next(r for r in found.run.rows if (r.arm, r.seed, r.epoch) == (found.arm, 0, 2))
    with torch.no_grad():
        loss = F.binary_cross_entropy_with_logits(found.model(x[40:]), y[40:], pos_weight=weights)
    assert row.val_loss == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ((1.0, 2.0, 3.0), "loss.pos_weight: expected a weight for each of the 2 outputs"),
        ("balanced", "expected training examples with 1 and with 0, .* got only 1 at label 1"),
    ],
)
def test_positive_weights_that_do_not_fit_are_refused(weight, text):
    x, _ = examples("regression", 60, 0)
    y = torch.stack(((x[:, 0] > 0).float(), torch.ones(60)), dim=1)
    loss = LossSpec("bce", {"pos_weight": weight})
    with pytest.raises(ArgumentError, match=text):
        droplab.sweep(net(2), (x, y), (x, y), task="multilabel", loss=loss, batch_size=20)
