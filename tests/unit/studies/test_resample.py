"""Splits that are drawn anew with each seed, from a recipe to the rows."""

from __future__ import annotations

import dataclasses

import pytest

from droplab.errors import DataError, RunError
from droplab.recipe import load, override
from droplab.studies import resolve, run
from droplab.studies._grouping import stored_groups
from droplab.train import ExecutionPlan
from tests.unit.studies.people import Stop, people_recipe, write_people

PLANS = {
    "eager": ExecutionPlan(1),
    "together": ExecutionPlan(1, captured=True, group=8),
    "in workers": ExecutionPlan(1, captured=True, group=2, workers=2),
}
SMALL = {
    "epochs": 2,
    "data.train": 80,
    "data.validation": 40,
    "data.resample": True,
    "seeds": [3, 4, 5],
}


def digits(**changes):
    return override(load("digits"), {**SMALL, **changes})


def by_hand(recipe, seed, where):
    """The rows of a run of one seed on its splits, which knows of no other."""
    mine = resolve(recipe).of_seeds([seed])
    plain = dataclasses.replace(
        mine.recipe, data=dataclasses.replace(recipe.data, resample=False), seeds=(seed,)
    )
    splits = dataclasses.replace(mine.splits, of_seed=None)
    alone = dataclasses.replace(mine, recipe=plain, splits=splits)
    return run(alone, where / f"alone-{seed}", plan=ExecutionPlan(1))


def content(rows):
    return sorted((row.arm, row.seed, row.epoch, *sorted(row.values.items())) for row in rows)


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    """The rows of separate runs of the seeds."""
    where = tmp_path_factory.mktemp("separate")
    return [row for seed in digits().seeds for row in by_hand(digits(), seed, where).rows]


@pytest.mark.parametrize("how", PLANS)
def test_rows_are_those_of_separate_runs(tmp_path, separate, how):
    found = run(digits(), tmp_path / "run", plan=PLANS[how])
    assert {member.state for member in found.members} == {"done"}
    assert all(len(group.seeds) == 1 for group in stored_groups(found.plan))
    for one, two in zip(content(found.rows), content(separate), strict=True):
        assert one[:3] == two[:3]
        if how == "eager":
            assert one == two
        else:
            assert dict(one[3:]) == pytest.approx(dict(two[3:]), rel=2e-3, abs=5e-3)


def test_arms_of_a_seed_share_their_examples_and_seeds_do_not():
    whole = resolve(digits())
    first, again, other = (whole.of_seeds([seed]).splits for seed in (3, 3, 4))
    assert first.train.inputs.equal(again.train.inputs)
    assert not first.train.inputs.equal(other.train.inputs)
    assert first.test is not None
    assert first.test.inputs.equal(other.test.inputs)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    recipe, plan = digits(), PLANS["eager"]
    whole = run(recipe, tmp_path / "whole", plan=plan)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "cut", plan=plan, observer=Stop(9))
    cut = run(recipe, tmp_path / "cut", resume=True)
    assert content(cut.rows) == content(whole.rows)
    with pytest.raises(RunError, match=r"data\.resample: the run has true, asked for nothing"):
        run(digits(**{"data.resample": False}), tmp_path / "cut", resume=True)


def test_a_table_trains(tmp_path, monkeypatch):
    write_people(tmp_path, 80)
    monkeypatch.chdir(tmp_path)
    recipe = people_recipe("price", epochs=1, batch_size=16, **{"data.resample": True})
    found = run(override(recipe, {"seeds": [0, 1]}), tmp_path / "run", plan=PLANS["eager"])
    assert {member.state for member in found.members} == {"done"}


def test_a_seed_that_cannot_be_judged_is_named():
    with pytest.raises(DataError, match=r"data\.resample: seed \d+: has 1 of class"):
        resolve(digits(**{"data.validation": 1}))
    with pytest.raises(DataError, match=r"give a smaller data\.validation"):
        resolve(digits(**{"data.train": 8, "batch_size": 8}))
