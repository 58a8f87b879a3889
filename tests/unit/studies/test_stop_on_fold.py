"""Folds of which one tells early stopping where to stop, from a recipe to the verdict."""

from __future__ import annotations

import json

import pytest

import droplab
from droplab import results
from droplab.errors import RecipeError
from droplab.recipe import dumps, load, loads, override
from droplab.studies import resolve, run
from droplab.studies._folders import weights_path_in
from droplab.train import evaluate
from droplab.train.checkpoint import load_weights
from droplab.verdict import judge
from tests.unit.studies.people import Stop, write_people
from tests.unit.studies.test_folds import (
    EAGER,
    PLANS,
    SWEEP,
    content,
    digits,
    labelled,
    net,
    table,
)


@pytest.fixture(autouse=True)
def people(tmp_path, monkeypatch):
    write_people(tmp_path, 80)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("how", ["eager", "together"])
@pytest.mark.parametrize("task", ["price", "grade"])
def test_a_fold_of_its_own_tells_where_to_stop(tmp_path, task, how):
    changes = {"data.stop_on_fold": True, "data.test": 8, "epochs": 3}
    recipe = table(task, {"price": "regression"}.get(task, "classification"), **changes)
    found = run(recipe, tmp_path / "run", plan=PLANS[how])
    experiment = resolve(recipe)
    for seed in recipe.seeds:
        mine = experiment.of_seeds([seed])
        own = [row for row in found.rows if (row.arm, row.seed) == ("half", seed)]
        for which, epoch in (("last", 3), ("best", _stopped(own))):
            replica = mine.replica(recipe.arm("half"), seed)
            file = weights_path_in(tmp_path / "run", recipe, "half", seed, which)
            load_weights(replica.model, file)
            score = evaluate(replica.model, mine.splits.stopping, task=mine.task)
            assert own[epoch - 1].values["stop_loss"] == pytest.approx(score["loss"], rel=1e-4)
            score = evaluate(replica.model, mine.splits.validation, task=mine.task)
            assert own[epoch - 1].values["val_loss"] == pytest.approx(score["loss"], rel=1e-4)
        stopped = [row for row in found.stopped_tests if (row.arm, row.seed) == ("half", seed)]
        assert [row.epoch for row in stopped] == [_stopped(own)]
    assert "and stopped early by the next" in recipe.data.sentence
    assert "stops early by the next" in " ".join(experiment.splits.notes)


def _stopped(rows):
    losses = [row.values["stop_loss"] for row in rows]
    return 1 + losses.index(min(losses))


def test_no_row_has_two_uses_and_each_is_stopped_by_once(tmp_path):
    experiment = resolve(table("grade", "classification", **{"data.stop_on_fold": True}))
    held = experiment.splits.of_seed
    for seed in range(6):
        train, validation = held.rows(seed)
        assert sorted([*train, *validation, *held.held_rows(seed)]) == list(range(80))
    assert sorted(row for seed in range(3) for row in held.held_rows(seed)) == list(range(80))
    grouped = resolve(table("price", **{"data.stop_on_fold": True, "data.groups": "city"}))
    held = grouped.splits.of_seed
    parts = [set(held.groups[rows]) for rows in (*held.rows(0), held.held_rows(0))]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.folds": 2, "data.stop_on_fold": True}, "at least 3 folds, .* got 2"),
        ({"data.stop_on_fold": 3}, "data.stop_on_fold: expected true or false, got 3"),
        ({"data.stop_on_fold": True, "primary": "gap"}, "data.stop_on_fold: .* got 'gap'"),
    ],
)
def test_a_fold_to_stop_by_that_cannot_be(changes, message):
    with pytest.raises(RecipeError, match=message):
        digits(**changes)


def test_an_interrupted_run_goes_on_to_the_same_stopped_epochs(tmp_path):
    recipe = digits(**{"data.stop_on_fold": True, "epochs": 4})
    whole = run(recipe, tmp_path / "whole", plan=EAGER)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "cut", plan=EAGER, observer=Stop(5))
    again = run(recipe, tmp_path / "cut", resume=True)
    assert content(again.rows) == content(whole.rows)
    assert judge(again).arms[1].stopped == judge(whole).arms[1].stopped


def test_a_sweep_stops_by_a_fold(tmp_path):
    options = {**SWEEP, "epochs": 2}
    out = tmp_path / "run"
    found = droplab.sweep(net, labelled([20, 20]), folds=5, stop_on_fold=True, out=out, **options)
    assert "stop_loss" in found.run.rows[0].values
    assert found.verdict.arms[1].stopped is not None
    with pytest.raises(RecipeError, match="expected stop_on_fold with at least 3 folds"):
        droplab.sweep(net, labelled([20, 20]), folds=2, stop_on_fold=True, **options)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"data.folds": 5}, True),
        ({"data.folds": 4}, False),  # too few would be left to train on
        ({"data.folds": 5, "data.stop_on_fold": False}, False),
        ({"data.folds": 5, "primary": "gap"}, False),  # training examples have a part in it
    ],
)
def test_a_fold_is_stopped_by_unless_too_few_are_left_or_somebody_says_no(changes, held):
    recipe = override(load("digits"), changes)
    assert recipe.data.stop_on_fold is held
    assert loads(dumps(recipe)) == recipe
    assert override(recipe, {"epochs": 3}).data.stop_on_fold is held
    assert (resolve(recipe).splits.stopping is not None) == held


def test_other_folds_are_asked_again_whether_one_is_stopped_by():
    five = override(load("digits"), {"data.folds": 5})
    assert override(five, {"data.folds": 4}).data.stop_on_fold is False
    assert override(five, {"data.validation": 99}).data.stop_on_fold is None
    none = override(five, {"data.stop_on_fold": False})
    assert override(none, {"data.folds": 10}).data.stop_on_fold is False


def test_a_run_of_an_earlier_version_means_what_it_meant(tmp_path):
    changes = {"data.folds": 5, "data.stop_on_fold": False, "epochs": 1}
    run(override(load("digits"), changes), tmp_path)
    text = (tmp_path / "recipe.toml").read_text()
    assert "stop_on_fold = false\n" in text
    (tmp_path / "recipe.toml").write_text(text.replace("stop_on_fold = false\n", ""))
    assert results.load(tmp_path).recipe.data.stop_on_fold is False


def test_all_rows_that_are_validated_on_are_counted_by_class(tmp_path):
    changes = {"data.folds": 5, "epochs": 1, "data.train": 300}
    told = json.loads(run(override(load("digits"), changes), tmp_path).notes["data"])
    assert sum(told["validation_counts"]) == told["folded"] == 300
