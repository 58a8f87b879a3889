"""The models of a run by a plain pass and by many: the plain ones score as they did in the run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from droplab import data
from droplab.errors import ArgumentError, PlacementError, RunError
from droplab.recipe import dumps, load, override
from droplab.report import render_averaging
from droplab.studies import average_model, compare_averaging, run, trained_model, weights_path_in
from droplab.train import ExecutionPlan
from droplab.uncertainty import export
from droplab.verdict._folds import compare_folds
from tests.unit.studies.people import Stop, people_recipe, write_people


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    recipe = override(load("digits"), {"epochs": 2, "seeds": [0, 1]})
    return run(recipe, tmp_path_factory.mktemp("runs") / "run", arms=["none", "0.5"])


def test_plain_scores_are_those_of_the_run_and_passes_are_others(result):
    found = compare_averaging(result.path, arm="0.5", passes=8)
    assert [(r["prediction"], r["seed"]) for r in found.rows] == [
        ("plain", 0),
        ("Monte Carlo", 0),
        ("plain", 1),
        ("Monte Carlo", 1),
    ]
    last = {r.seed: r for r in result.rows if r.arm == "0.5" and r.epoch == 2}
    for row in found.rows[::2]:
        assert row["nll"] == pytest.approx(last[row["seed"]].val_loss, rel=1e-4)
        assert row["accuracy"] == pytest.approx(last[row["seed"]].val_accuracy)
    for plain, many in zip(found.rows[::2], found.rows[1::2], strict=True):
        assert plain["nll"] != pytest.approx(many["nll"], rel=1e-4)
    assert found.verdict.baseline == "plain"
    assert found.verdict.arm("Monte Carlo").word == "too few seeds"
    assert found.error > 0
    # the mean of several models is better than the mean model, of a convex loss
    mean = sum(row["nll"] for row in found.rows[::2]) / 2
    assert found.ensembles["plain"]["nll"] <= mean


def test_what_cannot_be_averaged_is_refused(result):
    with pytest.raises(ArgumentError, match=r"arm 'none' are without any dropout.*: 0\.5$"):
        compare_averaging(result.path, arm="none", passes=2)
    with pytest.raises(RunError, match=r"no trained replica of an arm 'half'; it has none, 0\.5"):
        compare_averaging(result.path, arm="half")


@pytest.fixture(scope="module")
def drawn(result):
    return compare_averaging(result.path, arm="0.5", passes=8, figures=True, other="digits")


def test_the_figures_are_of_the_same_predictions_as_the_scores(drawn):
    plain = [row["nll"] for row in drawn.rows[::2]]
    many = [row["nll"] for row in drawn.rows[1::2]]
    assert drawn.plain == pytest.approx(np.mean(plain))
    assert [each[0] for each in drawn.curve] == [2, 5, 8]
    assert drawn.curve[-1][1] == pytest.approx(np.mean(many))
    differences = np.subtract(many, plain)
    assert drawn.curve[-1][2] == pytest.approx(differences.std(ddof=1) / np.sqrt(2))
    for way, rows in (("plain", drawn.rows[::2]), ("Monte Carlo", drawn.rows[1::2])):
        bins = drawn.reliability[way]
        right = sum(accuracy * count for _, accuracy, count in bins)
        assert sum(count for *_, count in bins) == 2 * drawn.examples
        assert right / (2 * drawn.examples) == pytest.approx(
            np.mean([row["accuracy"] for row in rows])
        )
        share, risk = drawn.risk[way][-1]
        assert (share, 1 - risk) == (1.0, pytest.approx(np.mean([r["accuracy"] for r in rows])))


def test_a_temperature_moves_confidence_and_no_answer(drawn):
    """Two epochs leave the network unsure of what it gets right."""

    def distance(way):
        bins = drawn.reliability[way]
        right = sum(accuracy * count for _, accuracy, count in bins)
        return right, abs(sum(sure * count for sure, _, count in bins) - right)

    before, after = distance("plain"), distance("plain, tempered")
    assert after[0] == pytest.approx(before[0])
    assert after[1] < 0.6 * before[1]


def test_examples_are_shown_as_they_are(drawn, result):
    least, most = drawn.extremes.values()
    assert min(e.unsure for e in least) > max(e.unsure for e in most)
    entropies = [e.unsure for e in least]
    assert entropies == sorted(entropies, reverse=True)
    assert np.asarray(Image.open(io.BytesIO(least[0].picture))).shape == (8, 8)
    page = render_averaging(drawn, "<b>run</b>")
    assert "&lt;b&gt;run" in page
    assert page.count("data:image/png;base64,") == 16
    assert page.count("<svg") == 4


def test_both_ways_to_predict_have_figures_of_their_own_and_keep_their_colours(drawn, of_values):
    """Points of both would lie on each other; a temperature's are rings, in which others show."""
    page = render_averaging(drawn, "run")
    figures = page.split("<svg")[1:]
    plain, many = (
        next(each for each in figures if f"Accuracy against confidence: {way}" in each)
        for way in ("plain", "Monte Carlo")
    )
    for figure, colour, other in ((plain, "c0", "c1"), (many, "c1", "c0")):
        assert f'class="dot {colour}"' in figure
        assert 'class="thin c2"' in figure
        assert f'"dot {other}"' not in figure
    figures = render_averaging(of_values[1], "run").split("<svg")[1:]
    of_risk = next(each for each in figures if "RMSE against coverage" in each)
    assert 'class="label c1">Monte Carlo' in of_risk  # the only line there


def test_scores_are_rows_under_the_ways_to_predict(drawn):
    head, *rows = drawn.by_score
    assert head[:3] == ["score", "plain", "Monte Carlo"]
    assert [row[0] for row in rows] == drawn.labels
    assert [row[1] for row in rows] == drawn.table[0][1:]
    assert '<th scope="col">Monte Carlo</th>' in render_averaging(drawn, "run")


def test_data_of_the_same_kind_is_not_told_apart(drawn):
    # 600 and 597 examples: an AUROC of the same data has a standard error of 0.017
    for scores in drawn.other.values():
        assert scores["auroc"] == pytest.approx(0.5, abs=0.07)


def test_other_data_has_to_fit_the_model(result, tmp_path):
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((20, 1, 9, 9)), y_train=np.arange(20) % 2)
    with pytest.raises(ArgumentError, match=r"of shape \(1, 8, 8\), as the model's own"):
        compare_averaging(result.path, arm="0.5", passes=2, other=str(tmp_path / "wide.npz"))


def test_the_model_of_a_run_is_the_one_that_it_scored(result, tmp_path):
    model, inputs = trained_model(result.path, arm="0.5", seed=1)
    kept = load_file(weights_path_in(result.path, result.recipe, "0.5", 1, "last"))
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    export(model, inputs, tmp_path / "m.pt2", to="pt2", dropout="mc", passes=2)
    with pytest.raises(RunError, match=r"arm '0\.5' and seed 7; it has none 0"):
        trained_model(result.path, arm="0.5", seed=7)


def test_one_model_scores_as_it_does_in_its_run(result):
    """On the validation examples of a recipe, and with what needs several seeds left out."""
    model, _ = trained_model(result.path, arm="0.5", seed=0)
    of_run = compare_averaging(result.path, arm="0.5", passes=8)
    found = average_model(model, "digits", passes=8, figures=True)
    assert list(found.rows) == list(of_run.rows[:2])
    assert (found.verdict, found.ensembles, found.split) == (None, {}, "validation")
    written = found.to_dict()
    assert not {"verdict", "ensembles", "extremes"} & set(written)
    assert "over several seeds" in written["left_out"]
    json.dumps(written, allow_nan=False)
    json.dumps(of_run.to_dict(), allow_nan=False)
    page = render_averaging(found, "nets.py:Net")
    assert "over several seeds" in page
    assert "±" not in page
    assert page.count("<svg") == 4


class Several(nn.Module):
    """Returns its logits among other things."""

    def __init__(self, net: nn.Module, form: Callable[[torch.Tensor, torch.Tensor], object]):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x: torch.Tensor) -> object:
        return self.form(self.net(x), x)


@pytest.mark.parametrize(
    "form",
    [lambda y, x: {"logits": y, "cache": None, "x": x}, lambda y, x: (y, x), lambda y, x: {"y": y}],
    ids=["logits", "tuple", "one tensor"],
)
def test_one_model_that_returns_several_things_is_scored_by_what_training_takes(result, form):
    model, _ = trained_model(result.path, arm="0.5", seed=0)
    expected = average_model(model, "digits", passes=2).rows
    several = Several(model, form)
    found = average_model(several, "digits", passes=2).rows
    assert [row["nll"] for row in found[::2]] == [row["nll"] for row in expected[::2]]
    assert found[1]["nll"] != found[0]["nll"]
    assert not several._forward_hooks


def test_one_model_on_data_by_its_path_is_scored_on_its_test_split(result, tmp_path):
    model, _ = trained_model(result.path, arm="0.5", seed=0)
    digits = data.load("digits")
    arrays = {"x_train": digits.train.inputs[:9], "y_train": digits.train.targets[:9]}
    np.savez(tmp_path / "all.npz", **{name: value.numpy() for name, value in arrays.items()})
    arrays |= {"x_test": digits.test.inputs[:70], "y_test": digits.test.targets[:70]}
    np.savez(tmp_path / "two.npz", **{name: value.numpy() for name, value in arrays.items()})
    with_test = average_model(model, str(tmp_path / "two.npz"), passes=2)
    assert (with_test.examples, with_test.split) == (70, "test")
    alone = average_model(model, str(tmp_path / "all.npz"), passes=2)
    assert (alone.examples, alone.split) == (9, "given")


def test_one_model_that_does_not_fit_is_refused(result, tmp_path):
    model, _ = trained_model(result.path, arm="0.5", seed=0)
    labels = {"x_train": np.zeros((20, 1, 8, 8)), "y_train": np.eye(20)[:, :3]}
    np.savez(tmp_path / "labels.npz", **labels)
    with pytest.raises(ArgumentError, match=r"classification or a regression, .* 'multilabel'"):
        average_model(model, str(tmp_path / "labels.npz"), task="multilabel")
    with pytest.raises(ArgumentError, match=r"targets: expected shape \(600, 10\)"):
        average_model(model, "digits", task="regression")
    (tmp_path / "r.toml").write_text(dumps(override(load("digits"), {"data.resample": True})))
    with pytest.raises(ArgumentError, match="a recipe with one validation split"):
        average_model(model, str(tmp_path / "r.toml"))
    with pytest.raises(ArgumentError, match="a Sequential without any dropout; put some into its"):
        average_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits")
    with pytest.raises(PlacementError, match="with which Sequential fails"):
        average_model(torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Dropout()), "digits")


@pytest.fixture(scope="module")
def of_values(tmp_path_factory):
    """Networks that learn prices, in units of the prices, and are scored in them."""
    where = tmp_path_factory.mktemp("prices")
    write_people(where, 400)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        recipe = people_recipe(epochs=12, seeds=[0, 1, 2])
        found = run(recipe, where / "run")
        yield found, compare_averaging(found.path, arm="half", passes=20, figures=True)


def test_values_are_scored_with_the_noise_of_the_other_half(of_values):
    result, found = of_values
    last = {r.seed: r for r in result.rows if r.arm == "half" and r.epoch == 12}
    for plain, many in zip(found.rows[::2], found.rows[1::2], strict=True):
        rmse = last[plain["seed"]].values["val_rmse"]
        assert plain["rmse"] == pytest.approx(rmse, rel=1e-4)
        # of a normal distribution whose variance is about the mean squared error
        assert plain["nll"] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * rmse**2), abs=0.1)
        assert many["rmse"] != pytest.approx(plain["rmse"], rel=1e-4)
        assert abs(many["nll"] - plain["nll"]) < 0.5
        for row in (plain, many):
            assert row["coverage_95"] == pytest.approx(0.95, abs=0.08)
    assert found.verdict.arm("Monte Carlo").word == "too few seeds"
    assert found.ensembles["plain"]["rmse"] <= np.mean([r["rmse"] for r in found.rows[::2]])


def test_figures_of_values_are_of_quantiles_and_errors(of_values):
    _, found = of_values
    assert found.curve[-1][1] == pytest.approx(np.mean([r["nll"] for r in found.rows[1::2]]))
    for points in found.reliability.values():
        levels, shares, counts = zip(*points, strict=True)
        assert levels == pytest.approx(np.arange(1, 20) / 20)
        assert shares == tuple(sorted(shares))
        assert set(counts) == {3 * found.examples}
        assert np.abs(np.subtract(shares, levels)).max() < 0.2
    assert list(found.risk) == ["Monte Carlo"]  # plain ones are all as unsure
    share, risk = found.risk["Monte Carlo"][-1]
    assert (share, risk) == (1.0, pytest.approx(np.mean([r["rmse"] for r in found.rows[1::2]])))
    least, most = found.extremes.values()
    assert min(e.unsure for e in least) > max(e.unsure for e in most)
    page = render_averaging(found, "run")
    assert "standard deviation</th>" in page
    assert "RMSE against coverage" in page
    assert "a mean has a Monte Carlo standard error" in page
    assert page.count("<svg") == 4
    json.dumps(found.to_dict(), allow_nan=False)


def test_over_folds_passes_are_judged_as_arms_over_folds(tmp_path, monkeypatch):
    write_people(tmp_path, 120)
    monkeypatch.chdir(tmp_path)
    recipe = people_recipe(epochs=2, seeds=[0, 1, 2, 3, 4], **{"data.folds": 5})
    found = compare_averaging(run(recipe, tmp_path / "run").path, arm="half", passes=4)
    rows = np.reshape([row["nll"] for row in found.rows], (5, 2))
    (expected,) = compare_folds([rows[:, 1] - rows[:, 0]], 5, held=True)
    got = found.verdict.arm("Monte Carlo").differences["nll"]
    assert (got.p, got.low) == pytest.approx((expected.p, expected.low))
    assert "5 folds" in found.verdict.headline
    cut = people_recipe(epochs=2, seeds=[0, 1, 2, 3, 4], **{"data.folds": 5})
    with contextlib.suppress(KeyboardInterrupt):
        run(cut, tmp_path / "cut", observer=Stop(14), plan=ExecutionPlan(1))
    with pytest.raises(RunError, match="expected all 5 folds of a repeat trained in arm 'half'"):
        compare_averaging(tmp_path / "cut", arm="half", passes=4)


def test_without_targets_scores_are_left_out_and_it_is_said(result, tmp_path):
    model, _ = trained_model(result.path, arm="0.5", seed=0)
    np.savez(tmp_path / "new.npz", x=data.load("digits").test.inputs[:40].numpy())
    with pytest.raises(ArgumentError, match=r"new\.npz: expected a task with examples that have"):
        average_model(model, str(tmp_path / "new.npz"), passes=2)
    found = average_model(
        model, str(tmp_path / "new.npz"), task="classification", passes=4, figures=True
    )
    assert (found.examples, found.scores, found.split) == (40, [], "given")
    assert "no targets, so scores, calibration and risk are left out" in found.sentences[1]
    least, most = found.extremes.values()
    assert min(e.unsure for e in least) > max(e.unsure for e in most)
    assert {e.truth for e in (*least, *most)} == {""}
    page = render_averaging(found, "new")
    assert (page.count("<svg"), "Scores</h2>" in page, page.count(">class<")) == (0, False, 0)
    assert "no targets" in json.loads(json.dumps(found.to_dict(), allow_nan=False))["left_out"]


def test_other_data_needs_no_targets(result, tmp_path):
    dim = data.load("digits").test.inputs[:100] // 4
    np.save(tmp_path / "dim.npy", dim.numpy())
    np.savez(tmp_path / "dim.npz", x_train=dim.numpy(), y_train=np.arange(100) % 2)
    np.save(tmp_path / "grey.npy", dim[:, 0].numpy())  # (8, 8) beside (1, 8, 8)
    found = [
        compare_averaging(result.path, arm="0.5", passes=4, other=str(tmp_path / name)).other
        for name in ("dim.npy", "dim.npz", "grey.npy")
    ]
    assert found[0] == found[1] == found[2]


class Doubled(torch.nn.Module):
    """Two outputs, the second one a hundred times the first."""

    def forward(self, x):
        y = torch.nn.functional.dropout(x, 0.5, self.training).sum(1, keepdim=True)
        return torch.cat((y, 100 * y), dim=1)


def test_each_output_has_noise_of_its_own(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 3)).astype("float32")
    y = x.sum(1) + draw.normal(size=400).astype("float32")
    scores = {}
    for name, targets in (("one", y[:, None]), ("two", np.stack((y, 100 * y), axis=1))):
        np.savez(tmp_path / f"{name}.npz", x=x, y=targets)
        model = Doubled() if name == "two" else torch.nn.Sequential(torch.nn.Dropout(), Sum())
        found = average_model(model, str(tmp_path / f"{name}.npz"), passes=50)
        scores[name] = {row["prediction"]: row["nll"] for row in found.rows}
    # in units a hundred times as large the likelihood of the second is lower by log(100)
    assert scores["two"]["plain"] == pytest.approx(scores["one"]["plain"] + np.log(100) / 2)
    np.savez(tmp_path / "few.npz", x=x[:1], y=y[:1, None])
    with pytest.raises(ArgumentError, match="at least 2 examples, one half of which"):
        average_model(torch.nn.Sequential(torch.nn.Dropout(), Sum()), str(tmp_path / "few.npz"))


class Sum(torch.nn.Module):
    def forward(self, x):
        return x.sum(1, keepdim=True)
