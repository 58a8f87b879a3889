"""Folds from a recipe to the rows: those of separate runs on splits made by hand."""

from __future__ import annotations

import dataclasses
import functools
import json

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import droplab
from droplab import data, results
from droplab.data import Split
from droplab.data._draw import fold_rows
from droplab.errors import ArgumentError, DataError, RecipeError
from droplab.recipe import LossSpec, load, override
from droplab.studies import Observer, choose_plan, resolve, run
from droplab.studies._grouping import make_groups, stored_groups
from droplab.train import ExecutionPlan
from droplab.verdict import judge, pool
from tests.unit.studies.people import Stop, people_recipe, write_people

EAGER = ExecutionPlan(1)
PLANS = {
    "eager": EAGER,
    "recorded": ExecutionPlan(1, captured=True),
    "together": ExecutionPlan(1, captured=True, group=8),
    "in workers": ExecutionPlan(1, captured=True, group=2, workers=2),
}


@pytest.fixture(autouse=True)
def people(tmp_path, monkeypatch):
    write_people(tmp_path, 80)
    monkeypatch.chdir(tmp_path)


def table(target="price", task="", **changes):
    """A small recipe over three folds."""
    small = {
        "epochs": 2,
        "batch_size": 16,
        "model.hidden": [8, 8],
        "data.folds": 3,
        "seeds": [0, 1, 2],
    }
    small |= {"arms.half.rates.fc3": 0.0} | ({"task": task} if task else {})
    return people_recipe(target, **{**small, **changes})


ARMS = [{"name": "none"}, {"name": "some", "rates": {"fc1": 0.2, "fc2": 0.3, "fc3": 0.3}}]


def digits(**changes):
    small = {"epochs": 2, "data.train": 90, "data.folds": 3, "arms": ARMS}
    return override(load("digits"), small | changes)


def by_hand(recipe, seed, where, plan=EAGER):
    """The rows of a run of one seed on its splits, in which no fold is known of."""
    whole = resolve(recipe)
    mine = whole.of_seeds([seed])
    splits = dataclasses.replace(mine.splits, of_seed=None)
    plain = dataclasses.replace(
        mine.recipe,
        data=dataclasses.replace(recipe.data, folds=None),
        seeds=(seed,),
    )
    alone = dataclasses.replace(mine, recipe=plain, splits=splits)
    return run(alone, where / f"alone-{seed}", plan=plan)


def content(rows):
    return sorted((row.arm, row.seed, row.epoch, *sorted(row.values.items())) for row in rows)


def same(found, expected, *, exact):
    found, expected = content(found), content(expected)
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    for one, two in zip(found, expected, strict=True):
        if exact:
            assert one == two
        else:
            assert dict(one[3:]) == pytest.approx(dict(two[3:]), rel=2e-3, abs=5e-3)


SECOND = {
    "regression": functools.partial(table, "price", "regression", seeds=[3, 4, 5]),
    "binary": functools.partial(table, "grade", "binary", seeds=[3, 4, 5]),
    "digits": functools.partial(digits, seeds=[3, 4, 5]),
}
"""The second repeat of three folds."""


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    """The rows of separate runs of the seeds of a recipe in `SECOND`."""

    @functools.cache
    def rows_of(task):
        recipe, where = SECOND[task](), tmp_path_factory.mktemp(task)
        return [row for seed in recipe.seeds for row in by_hand(recipe, seed, where).rows]

    return rows_of


@pytest.mark.parametrize("how", PLANS)
@pytest.mark.parametrize("task", SECOND)
def test_rows_are_those_of_separate_runs(tmp_path, separate, how, task):
    found = run(SECOND[task](), tmp_path / "run", plan=PLANS[how])
    assert {member.state for member in found.members} == {"done"}
    for group in stored_groups(found.plan):
        assert len(group.seeds) == 1
    # the direct step gives the same bits; others those of their own, the same within rounding
    same(found.rows, separate(task), exact=how == "eager")
    assert len({row.values["val_loss"] for row in found.rows}) == len(found.rows)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_folds_of_any_shape_train_as_by_hand(tmp_path_factory, draw):
    """A property: any number of folds, rows, repeats and arms, any group size of the plan."""
    where = tmp_path_factory.mktemp("any")
    folds, rows = draw.draw(st.integers(2, 5)), draw.draw(st.integers(60, 75))
    first, repeats = draw.draw(st.integers(0, 3)), draw.draw(st.integers(1, 2))
    group, batch = draw.draw(st.integers(1, 9)), draw.draw(st.integers(7, 30))
    recipe = digits(
        arms=[{"name": arm.name, "rates": dict(arm.rates)} for arm in load("digits").arms[:3]],
        **{"epochs": 1, "data.train": rows, "data.folds": folds, "batch_size": batch},
        **{"data.stop_on_fold": False},
        seeds=list(range(first * folds, (first + repeats) * folds)),
    )
    found = run(recipe, where / "run", plan=ExecutionPlan(1, group=group))
    seed = draw.draw(st.sampled_from(recipe.seeds))
    expected = by_hand(recipe, seed, where).rows
    same([row for row in found.rows if row.seed == seed], expected, exact=False)


def test_the_splits_are_those_that_anybody_makes(tmp_path):
    recipe = digits(seeds=[3, 4, 5])
    inputs, targets = (getattr(data.load("digits").train, n)[:90] for n in ("inputs", "targets"))
    fold = torch.from_numpy(fold_rows(90, 3, repeat=1, strata=targets.numpy()))
    splits = resolve(recipe).of_seeds([4]).splits
    assert torch.equal(splits.train.inputs, inputs[fold != 1])
    assert torch.equal(splits.validation.inputs, inputs[fold == 1])
    assert torch.equal(resolve(recipe).splits.validation.targets, targets[fold == 0])


def test_the_network_of_a_table_learns_the_units_of_its_own_training_rows():
    experiment = resolve(table())
    assert "center" not in experiment.recipe.model.arguments
    for seed in range(3):
        mine = experiment.of_seeds([seed])
        assert isinstance(mine.splits.train, Split)
        model = mine.build()
        assert float(model.center[0]) == pytest.approx(float(mine.splits.train.targets.mean()))
        assert model.embeddings[0].num_embeddings == 1 + 4  # every seed has the same network


def test_the_recipe_that_a_run_stores_gives_the_same_rows(tmp_path):
    found = run(table(), tmp_path / "one", plan=EAGER)
    again = run(results.load(tmp_path / "one").recipe, tmp_path / "two", plan=EAGER)
    assert content(found.rows) == content(again.rows)
    assert found.recipe.digest == again.recipe.digest


def test_a_test_split_is_measured_as_each_seed_sees_it(tmp_path):
    made = override(table(), {"data.test": 0.2})
    found = run(made, tmp_path / "run", plan=PLANS["together"])
    assert len(found.tests) == 6
    for seed in range(3):
        alone = by_hand(made, seed, tmp_path)
        mine = [row for row in found.tests if row.seed == seed]
        for one, two in zip(mine, alone.tests, strict=True):
            assert one.values == pytest.approx(two.values, rel=2e-3)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    plan = ExecutionPlan(1, group=8)  # that recorded steps go on is shown without folds
    whole = run(table(), tmp_path / "whole", plan=plan)
    for rows in (1, 5, 9):
        with pytest.raises(KeyboardInterrupt):
            run(table(), tmp_path / f"run{rows}", plan=plan, observer=Stop(rows))
        resumed = run(table(), tmp_path / f"run{rows}", resume=True)
        assert content(resumed.rows) == content(whole.rows), rows


def test_progress_counts_the_steps_of_every_seed(tmp_path):
    """80 rows in 3 folds: 53 or 54 to train on, so 53 batches of one row or 54."""
    counted = []

    class Counting(Observer):
        def started(self, recipe, folder, plan, steps, steps_done):
            counted.append([steps, 0])

        def steps_done(self, members, steps):
            counted[-1][1] += steps * len(members)

    run(table(batch_size=1, epochs=1), tmp_path / "run", plan=EAGER, observer=Counting())
    assert counted == [[2 * 2 * 80, 2 * 2 * 80]]


def test_a_budget_keeps_whole_repeats(tmp_path):
    recipe = digits(seeds=list(range(9)))
    found = run(recipe, tmp_path / "short", plan=EAGER, budget=1e-9)
    assert found.recipe.seeds == (0, 1, 2)
    assert json.loads(found.notes["budget"])["seeds"] == list(range(9))
    resumed = run(recipe, tmp_path / "short", resume=True)
    assert resumed.recipe.seeds == (0, 1, 2)
    more = run(recipe, tmp_path / "more", plan=EAGER, budget=1e-9, least_seeds=4)
    assert more.recipe.seeds == (0, 1, 2, 3, 4, 5)


def test_a_measured_plan_has_groups_of_one_seed(thorough, tmp_path):
    recipe = digits(epochs=1)
    experiment = resolve(recipe)
    plan = choose_plan(experiment, again=True)
    assert plan.group <= len(recipe.arms)
    assert all(row.group <= len(recipe.arms) for row in plan.tried)
    sizes = {len(g.seeds) for g in make_groups(recipe.arms, recipe.seeds, 64, folds=True)}
    assert sizes == {1}


def test_several_seeds_with_folds_are_never_taken_together():
    with pytest.raises(ArgumentError, match="each has examples of its own, got 2"):
        resolve(digits()).of_seeds([0, 1])


def test_runs_of_other_repeats_are_pooled(tmp_path):
    first = run(digits(looks=2), tmp_path / "a", plan=EAGER)
    second = run(digits(looks=2, seeds=[3, 4, 5]), tmp_path / "b", plan=EAGER)
    together = run(digits(looks=2, seeds=list(range(6))), tmp_path / "c", plan=EAGER)
    pooled = pool([first, second])
    assert judge(pooled).headline == judge(together).headline
    assert "3 folds x 2 repeats" in judge(pooled).headline


def labelled(counts):
    targets = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    return torch.randn(len(targets), 4, generator=torch.Generator().manual_seed(0)), targets


def net(outputs=2):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


SWEEP = {"rates": [0.5], "epochs": 1, "batch_size": 8, "execution": EAGER}


def test_a_sweep_over_folds_needs_no_validation_examples(tmp_path):
    options = {"folds": 5, "stop_on_fold": False, **SWEEP}
    found = droplab.sweep(net, labelled([20, 22]), out=tmp_path / "run", **options)
    assert found.run.recipe.seeds == (0, 1, 2, 3, 4)
    assert found.run.recipe.data.folds == 5
    assert "5 folds" in found.verdict.headline
    data_note = json.loads(found.run.notes["data"])
    assert (data_note["folded"], data_note["validation_counts"]) == (42, [20, 22])
    assert "42 examples in 5 folds of 8 or 9" in " ".join(data_note["notes"])
    fold = torch.from_numpy(fold_rows(42, 5, strata=labelled([20, 22])[1].numpy()))
    inputs, targets = labelled([20, 22])
    rows = [row for row in found.run.rows if row.seed == 3]
    alone = droplab.sweep(
        net,
        (inputs[fold != 3], targets[fold != 3]),
        (inputs[fold == 3], targets[fold == 3]),
        seeds=[3],
        out=tmp_path / "alone",
        **SWEEP,
    )
    same(rows, alone.run.rows, exact=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected examples to compare the arms on, got none; .* or a number of folds"),
        ({"validation": labelled([4, 4]), "folds": 5}, "got both"),
    ],
)
def test_a_sweep_has_either(given, message):
    with pytest.raises(ArgumentError, match=message):
        droplab.sweep(net, labelled([20, 22]), **given, **SWEEP)


@pytest.mark.parametrize(
    ("counts", "folds", "error", "message"),
    [
        (
            [20, 1],
            5,
            DataError,
            r"fold \d of repeat 0 \(seed \d\): has the only example of class"
            " '1', which is validated on and never trained on",
        ),
        ([20, 4], 5, DataError, r"fold \d of repeat 0 .*: has \d of class '0' and of no other"),
        ([20, 22], 43, DataError, "at most as many folds as there are rows, 42, got 43"),
        ([6, 6], 2, RecipeError, "batch_size: expected at most the 6 training examples"),
    ],
)
def test_folds_that_cannot_be_judged(tmp_path, counts, folds, error, message):
    with pytest.raises(error, match=message):
        droplab.sweep(net, labelled(counts), folds=folds, out=tmp_path / "run", **SWEEP)
    assert not (tmp_path / "run").exists()


def test_a_group_that_holds_a_whole_class_is_named(tmp_path):
    frame = pd.read_csv("people.csv")
    frame["shop"] = [f"s{i % 8}" for i in range(80)]
    frame.loc[frame.index % 16 == 0, "grade"] = "odd"  # in one shop alone
    frame.to_csv("people.csv", index=False)
    recipe = override(table("grade", "classification"), {"data.groups": "shop"})
    with pytest.raises(DataError, match=r"has all 5 examples of class 'odd'"):
        resolve(recipe)


def test_a_class_with_fewer_examples_than_folds_is_noted(tmp_path):
    factory = functools.partial(net, 3)
    found = droplab.sweep(factory, labelled([20, 20, 3]), folds=5, out=tmp_path / "run", **SWEEP)
    notes = " ".join(json.loads(found.run.notes["data"])["notes"])
    assert "Class '2' is not in every fold: up to 2 of 5 seeds validate on no example" in notes


def test_targets_that_do_not_differ_in_a_fold_are_told_with_it(tmp_path):
    inputs, targets = labelled([20, 20])
    targets = torch.where(torch.arange(40) == 0, 1.5, 0.5)
    with pytest.raises(DataError, match=r"fold \d of repeat 0 \(seed \d\): validation targets"):
        droplab.sweep(
            functools.partial(net, 1),
            (inputs, targets),
            folds=5,
            task="regression",
            out=tmp_path / "run",
            **SWEEP,
        )


@pytest.mark.parametrize("way", ["folds", "resample"])
def test_balanced_weights_are_those_of_the_training_rows_of_each_seed(tmp_path, way):
    changes = {"loss.name": "cross_entropy", "loss.weight": "balanced"}
    recipe = table("grade", "classification", **changes)
    if way == "resample":
        again = {"epochs": 1, "data.resample": True, "data.validation": 20, "seeds": [0, 1, 2]}
        recipe = people_recipe("grade", task="classification", **{**changes, **again})
    experiment = resolve(recipe)
    assert experiment.recipe.loss.arguments["weight"] == "balanced"
    weights = []
    for seed in recipe.seeds:
        mine = experiment.of_seeds([seed])
        counts = mine.splits.train.targets.bincount()
        weights.append(mine.task.loss.weight)
        assert torch.allclose(weights[-1], counts.sum() / (len(counts) * counts))
    if way == "folds":  # others have every class in its share, to one example
        assert not all(torch.equal(weights[0], other) for other in weights)
    found = run(experiment, tmp_path / "run", plan=EAGER)
    assert found.recipe == experiment.recipe  # and resumed as it was


def test_a_class_that_a_seed_does_not_train_on_cannot_be_balanced():
    targets = torch.tensor([0] * 20 + [1] * 20).float()[:, None].repeat(1, 2)
    targets[:, 1] = torch.arange(40) == 3  # one example has the second label
    with pytest.raises(ArgumentError, match=r"fold \d of .*loss.pos_weight: .* at label 1"):
        droplab.sweep(
            functools.partial(net, 2),
            (torch.randn(40, 4), targets),
            folds=5,
            task="multilabel",
            loss=LossSpec("bce", {"pos_weight": "balanced"}),
            **SWEEP,
        )
