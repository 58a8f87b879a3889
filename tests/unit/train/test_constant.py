"""The constant answer, against scikit-learn's and against what arithmetic says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss

from droplab.train.tasks import CLASSIFICATION, KINDS, CrossEntropy, constant_scores
from droplab.train.tasks._losses import own


def test_the_classes_shares_are_the_usual_constant():
    rng = np.random.default_rng(1)
    train, test = (rng.choice(3, size=n, p=[0.7, 0.2, 0.1]) for n in (4000, 500))
    prior = DummyClassifier(strategy="prior").fit(np.zeros((4000, 1)), train)
    score, each = constant_scores(
        CLASSIFICATION, torch.from_numpy(train), torch.from_numpy(test), "loss"
    )
    expected = log_loss(test, prior.predict_proba(np.zeros((500, 1))))
    assert score["loss"] == pytest.approx(expected, rel=1e-3)
    assert score["accuracy"] == np.mean(test == 0)
    assert each is not None
    assert each.mean().item() == pytest.approx(score["loss"])


def test_class_weights_change_the_answer():
    labels = torch.tensor([0] * 90 + [1] * 10)
    task = type(CLASSIFICATION)(CrossEntropy(weight=torch.tensor([1.0, 30.0])))
    score, _ = constant_scores(task, labels, labels, None)
    assert score["accuracy"] == 0.1  # the rare class weighs more
    shares = np.array([90 * 1.0, 10 * 30.0]) / 390
    assert score["loss"] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-2)


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_quantities(strategy):
    rng = np.random.default_rng(2)
    train, test = (rng.exponential(size=(n, 1)).astype(np.float32) for n in (3000, 400))
    dummy = DummyRegressor(strategy=strategy).fit(np.zeros((3000, 1)), train)
    absolute = own(lambda outputs, targets: (outputs - targets).abs().mean(1), "absolute")
    regression = KINDS["regression"]
    task = regression() if strategy == "mean" else regression(absolute)
    score, _ = constant_scores(task, torch.from_numpy(train), torch.from_numpy(test), None)
    off = dummy.predict(np.zeros((400, 1))).reshape(-1, 1) - test
    expected = (off**2).mean() if strategy == "mean" else np.abs(off).mean()
    assert score["loss"] == pytest.approx(expected, rel=5e-3)
    assert score["rmse"] == pytest.approx(math.sqrt((off**2).mean()), rel=2e-2)


@pytest.mark.parametrize("name", ["binary", "multilabel", "tokens"])
def test_other_tasks(name):
    generator = torch.Generator().manual_seed(3)
    shape = {"binary": (500,), "multilabel": (500, 3), "tokens": (500, 4)}[name]
    targets = (torch.rand(shape, generator=generator) < 0.8).long()
    targets = targets if name == "tokens" else targets.float()
    score, each = constant_scores(KINDS[name](), targets, targets, "loss")
    share = targets.float().mean(0)
    whole = targets.float().mean() if name == "tokens" else share
    entropy = -(whole * whole.log() + (1 - whole) * (1 - whole).log()).mean()
    assert score["loss"] == pytest.approx(entropy.item(), rel=1e-2)
    assert score["accuracy"] == pytest.approx(targets.float().mean().item())
    assert each is not None
    assert each.shape == (500,)


@pytest.mark.parametrize("factor", [math.nan, -math.inf])
def test_a_loss_that_is_no_number_has_the_usual_constant(factor):
    targets = torch.linspace(0, 1, 30)[:, None]
    task = KINDS["regression"](own(lambda o, y: (o - y).square().flatten() * factor, "mine"))
    score, _ = constant_scores(task, targets, targets, None)
    assert score["rmse"] == pytest.approx(float(targets.std(correction=0)))
