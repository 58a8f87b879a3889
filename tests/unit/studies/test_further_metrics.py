"""Metrics that a recipe adds: droplab's further ones, and functions of one's own, everywhere."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import droplab
from droplab.errors import ArgumentError, DroplabError, RecipeError, RunError
from droplab.lab._run import Run
from droplab.recipe import FURTHER, MetricSpec, dumps, load, loads, override
from droplab.studies import run
from droplab.studies._resolve import resolve
from droplab.train import ExecutionPlan
from droplab.train.tasks import gaussian_nll
from droplab.train.tasks._further import further
from droplab.verdict import judge
from tests.unit.cli.test_any_metrics import outputs
from tests.unit.studies.people import people_recipe, write_people

RECORDED = ExecutionPlan(1, captured=True)
PLANS = {"eager": ExecutionPlan(1), "recorded": RECORDED, "together": ExecutionPlan(1, group=4)}
MODULE = """
def errors(outputs, targets):
    return (outputs.argmax(1) != targets).double().mean()

def fails(outputs, targets):
    raise ValueError("no such thing")

def vector(outputs, targets):
    return outputs.sum(1)

def infinite(outputs, targets):
    return float("inf")

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)


def recipe(*metrics, **changes):
    small = {"epochs": 2, "seeds": [0, 1], "data.train": 60, "data.validation": 200}
    return override(load("digits"), {**small, "also_measure": list(metrics), **changes})


OWN = {
    "name": "error_rate",
    "path": "my_metrics:errors",
    "better": "lower",
    "label": "share of wobbles",
    "unit": "%",
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_metric_of_ones_own_is_measured_over_the_whole_split(plan):
    found = run(recipe(OWN, "balanced_accuracy", "brier", "nll", "macro_f1"), "run", plan=plan)
    for row in found.rows:
        assert row.val_error_rate == pytest.approx(1 - row.val_accuracy)
        assert row.val_nll == pytest.approx(row.val_loss, rel=1e-5)
        assert "train_error_rate" not in row.values
    tests = {(row.arm, row.seed): row.values for row in found.tests}
    assert tests
    for values in tests.values():
        assert values["error_rate"] == pytest.approx(1 - values["accuracy"])


def test_it_decides_and_is_shown_everywhere(tmp_path):
    made = recipe(OWN, primary="val_error_rate", **{"target.val_error_rate": "< 0.9"})
    assert loads(dumps(made)) == made
    found = run(made, "run", plan=RECORDED)
    assert "share of wobbles" in judge(found).headline
    for place, text in outputs(tmp_path / "run").items():
        assert "wobbles" in text, place
    lab = Run("a", made)
    lab.fill(found)
    described = [metric["label"] for metric in lab.snapshot()["metrics"]]
    assert "share of wobbles" in described


def test_the_further_metrics_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(80, 4, generator=generator)
    targets = torch.randint(0, 4, (80,), generator=generator)
    targets[targets == 2] = 3  # a class that does not occur
    specs = [MetricSpec(each.name) for each in FURTHER["classification"]]
    got = {each.name: each(logits, targets) for each in further(specs, "classification")}
    predicted, shares = logits.argmax(1), logits.double().softmax(1).numpy()
    one_hot = torch.nn.functional.one_hot(targets, 4).numpy()
    recalls = metrics.recall_score(targets, predicted, labels=[0, 1, 3], average="macro")
    assert got["balanced_accuracy"] == pytest.approx(recalls)
    assert got["macro_f1"] == pytest.approx(metrics.f1_score(targets, predicted, average="macro"))
    assert got["brier"] == pytest.approx(((shares - one_hot) ** 2).sum(1).mean())
    assert got["nll"] == pytest.approx(metrics.log_loss(targets, shares, labels=range(4)))
    areas = [metrics.roc_auc_score(targets == label, shares[:, label]) for label in (0, 1, 3)]
    assert got["auroc"] == pytest.approx(sum(areas) / 3)
    logits = logits.round()  # so that many are equal
    targets[:10] = 2
    shares = logits.double().softmax(1).numpy()
    (area,) = further([MetricSpec("auroc")], "classification")
    expected = metrics.roc_auc_score(targets, shares, multi_class="ovr", average="macro")
    assert area(logits, targets) == pytest.approx(expected)
    logit, yes = logits[:, 0], (targets > 0).long()
    specs = [MetricSpec(each.name) for each in FURTHER["binary"]]
    got = {each.name: each(logit, yes) for each in further(specs, "binary")}
    share = logit.double().sigmoid().numpy()
    said = (logit > 0).long()
    assert got["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(yes, said))
    assert got["macro_f1"] == pytest.approx(metrics.f1_score(yes, said, average="macro"))
    assert got["brier"] == pytest.approx(metrics.brier_score_loss(yes, share))
    assert got["nll"] == pytest.approx(metrics.log_loss(yes, share))


@pytest.mark.parametrize("task", FURTHER)
def test_every_further_metric_of_a_task_can_be_measured(task):
    outputs_of = {
        "classification": (torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])),
        "binary": (torch.randn(6), torch.tensor([0, 1, 0, 1, 1, 0])),
        "multilabel": (torch.randn(6, 2), torch.ones(6, 2)),
        "tokens": (torch.randn(6, 5, 7), torch.randint(0, 7, (6, 5))),
        "regression": None,  # made of two splits, see below
    }
    for each in further([MetricSpec(measure.name) for measure in FURTHER[task]], task):
        assert math.isfinite(each(*outputs_of[task]))


def test_the_likelihood_of_a_regression_has_the_variance_of_the_training_residuals():
    write_people(Path())
    made = people_recipe(also_measure=["nll"], primary="val_nll", **{"data.test": 40})
    found = run(made, "run", plan=RECORDED)
    rows = {(row.arm, row.seed): row for row in found.rows if row.epoch == 3}
    for row in found.rows:
        spread = torch.distributions.Normal(0.0, row.train_rmse)
        likely = -spread.log_prob(torch.tensor(row.val_rmse)).item()
        assert row.val_nll == pytest.approx(likely, rel=1e-5)
    assert found.tests
    for test in found.tests:
        spread = torch.distributions.Normal(0.0, rows[test.arm, test.seed].train_rmse)
        likely = -spread.log_prob(torch.tensor(test.rmse)).item()
        assert test.nll == pytest.approx(likely, rel=1e-5)
    assert "Gaussian negative log likelihood" in judge(found).headline
    many = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double()
    by_torch = -torch.distributions.Normal(0.0, 0.7).log_prob(many).mean()
    assert gaussian_nll(many.square().mean().sqrt().item(), 0.7) == pytest.approx(by_torch)


def test_the_likelihood_of_a_regression_has_no_error_at_its_ends():
    assert gaussian_nll(1.0, 0.0) > 1e300  # learned by heart, and wrong elsewhere
    assert gaussian_nll(0.0, 0.0) < 0
    assert gaussian_nll(1e200, 1e-200) == math.inf
    assert math.isnan(gaussian_nll(1.0, math.nan))


def test_auroc_of_a_split_with_one_class_is_refused_before_training():
    inputs, targets = torch.randn(60, 4), torch.arange(60) % 3
    options = {"rates": [0.5], "seeds": 2, "epochs": 1, "batch_size": 20}
    options["also_measure"] = ["auroc"]
    with pytest.raises(ArgumentError, match=r"also_measure.auroc: expected a finite number"):
        droplab.sweep(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
            (inputs, targets),
            (inputs[targets == 1], targets[targets == 1]),
            **options,
        )


def own(path="my_metrics:errors", **more):
    return {"name": "mine", "path": path, "better": "lower", **more}


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (own("my_metrics:fails"), r"also_measure.mine: my_metrics:fails fails with ValueError: no"),
        (own("my_metrics:vector"), r"expected one number for a whole split .* got shape \(200,\)"),
        (own("my_metrics:infinite"), r"expected a finite number on the validation examples"),
        (own("my_metrics:number"), r"also_measure.mine: expected a function, got int"),
        (own("my_metrics:nothing"), r"also_measure.mine: .* has no 'nothing'"),
    ],
)
def test_what_a_function_of_ones_own_does_wrong_is_said_before_training(metric, text):
    with pytest.raises(ArgumentError, match=text):
        resolve(recipe(metric))


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("brir", r"classification has no further metric 'brir'; its own are balanced_accuracy"),
        ("accuracy", "'accuracy' is measured already"),
        ({"name": "mine", "path": "a:b"}, "mine: expected better = 'higher' or 'lower'"),
        ({"name": "mine", "better": "lower"}, "mine: expected the path of a function"),
        (own(beter=1), r"also_measure\[0\].beter: unknown key; did you mean 'better'"),
        (own(better="low"), r"also_measure\[0\].better: expected 'higher' or 'lower', got 'low'"),
        ({"name": "My name"}, r"also_measure\[0\].name: expected a name of at most 40 small"),
        (own("nothing"), "expected an import path"),
        (3, r"also_measure\[0\]: expected a table, got 3"),
    ],
)
def test_a_wrong_metric_is_refused(metric, text):
    with pytest.raises(RecipeError, match=text):
        recipe(metric)


def test_a_name_that_is_no_metric_is_refused_with_the_nearest():
    with pytest.raises(DroplabError, match=r"primary: .*'val_brir'; did you mean 'val_brier'"):
        recipe("brier", primary="val_brir")


def test_a_sweep_takes_names_and_functions():
    def rate(outputs, targets):
        return (outputs.argmax(1) != targets).double().mean().item()

    inputs, targets = torch.randn(80, 4), torch.randint(0, 2, (80,))
    found = droplab.sweep(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        (inputs[:60], targets[:60]),
        (inputs[60:], targets[60:]),
        rates=[0.5],
        seeds=2,
        epochs=2,
        batch_size=20,
        also_measure=["brier", (rate, "lower")],
        primary="val_rate",
        out="run",
    )
    assert all(row.val_rate == pytest.approx(1 - row.val_accuracy) for row in found.run.rows)
    assert found.run.recipe.primary == "val_rate"


def test_a_run_does_not_go_on_with_another_metric_of_the_same_name(tmp_path):
    run(recipe(OWN, epochs=1), "run", plan=RECORDED)
    (tmp_path / "my_metrics.py").write_text(MODULE.replace("!=", "=="))
    with pytest.raises(RunError, match=r"the code is not what .*my_metrics"):
        run(recipe(OWN, epochs=1), "run", resume=True)
