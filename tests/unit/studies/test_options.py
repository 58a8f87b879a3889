"""Clipping and learning-rate schedulers: in recipes, in `droplab.sweep`, after an interruption."""

from __future__ import annotations

import dataclasses
import functools
import sqlite3
from contextlib import closing

import pytest
import torch
from torch import nn

import droplab
from droplab import results
from droplab.errors import ArgumentError, RecipeError, RunError
from droplab.recipe import SchedulerSpec, load, override
from droplab.studies import run
from droplab.train import ExecutionPlan
from droplab.verdict import judge
from tests.unit.studies.people import Stop

PLANS = {
    "alone": ExecutionPlan(1),
    "together": ExecutionPlan(1, captured=True, group=2),
}
OPTIONS = {"clip": 0.5, "scheduler.name": "StepLR", "scheduler.step_size": 1}


def plain():
    small = {"epochs": 3, "seeds": [0, 1], "data.train": 100, "data.validation": 200}
    recipe = override(load("digits"), small)
    return dataclasses.replace(recipe, arms=recipe.arms[:2])


def tiny(**changes):
    return override(plain(), {**OPTIONS, **changes})


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run under each plan, made once."""

    @functools.cache
    def made(name):
        return run(tiny(), tmp_path_factory.mktemp("whole") / name, plan=PLANS[name])

    return made


def test_the_rows_of_groups_are_those_of_single_runs_and_both_options_show(whole, tmp_path):
    found = {name: whole(name) for name in PLANS}
    for one, two in zip(found["alone"].rows, found["together"].rows, strict=True):
        assert (one.arm, one.seed, one.epoch) == (two.arm, two.seed, two.epoch)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-3)
    recipes = plain(), override(plain(), {"clip": 0.5})
    rows = [content(run(r, tmp_path / r.digest, plan=PLANS["alone"])) for r in recipes]
    rows.append(content(found["alone"]))
    assert rows[0] != rows[1]
    first, later = ([[r for r in part if (r.epoch == 1) == at] for part in rows] for at in (1, 0))
    assert first[1] == first[2]  # the scheduler acts from the second epoch on
    assert later[1] != later[2]


@pytest.mark.parametrize("name", PLANS)
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, tmp_path, name):
    whole = whole(name)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "part", plan=PLANS[name], observer=Stop(5))
    resumed = run(tiny(), tmp_path / "part", resume=True)
    assert content(resumed) == content(whole)
    assert resumed.tests == whole.tests


CYCLE = SchedulerSpec("OneCycleLR", {"max_lr": 0.05, "cycle_momentum": False})


@pytest.mark.parametrize("name", PLANS)
def test_a_cycle_counts_steps_and_goes_on_where_it_was_broken_off(tmp_path, name):
    recipe = dataclasses.replace(tiny(), scheduler=CYCLE)
    whole = run(recipe, tmp_path / "whole", plan=PLANS[name])
    by_epoch = dataclasses.replace(CYCLE, every="epoch")
    other = dataclasses.replace(recipe, scheduler=by_epoch)
    assert other.digest != recipe.digest
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "part", plan=PLANS[name], observer=Stop(5))
    resumed = run(recipe, tmp_path / "part", resume=True)
    assert content(resumed) == content(whole)


def test_a_cycle_that_an_earlier_version_stepped_by_epochs_is_read_so_and_not_gone_on_with(
    tmp_path,
):
    """Its recipe did not say what it counts, and its digest is that of epochs."""
    by_epoch = dataclasses.replace(CYCLE, every="epoch")
    recipe = dataclasses.replace(tiny(), scheduler=by_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, plan=PLANS["alone"], observer=Stop(2))
    with closing(sqlite3.connect(tmp_path / "run.sqlite")) as sql, sql:
        ((text,),) = sql.execute("SELECT value FROM run WHERE name = 'recipe'")
        assert 'every = "epoch"\n' in text
        text = text.replace('every = "epoch"\n', "")
        sql.execute("UPDATE run SET value = ? WHERE name = 'recipe'", (text,))
        sql.execute("DELETE FROM run WHERE name = 'checksum'")
    assert results.load(tmp_path).recipe.scheduler.unit == "epoch"
    unsaid = dataclasses.replace(recipe, scheduler=CYCLE)
    for again in (recipe, unsaid):
        with pytest.raises(RunError, match=r"earlier version, .* OneCycleLR after every epoch"):
            run(again, tmp_path, resume=True)


def test_a_length_in_steps_for_a_scheduler_of_epochs_is_said(tmp_path):
    recipe = dataclasses.replace(tiny(), scheduler=SchedulerSpec("StepLR", {"step_size": 500}))
    recipe = dataclasses.replace(recipe, epochs=1, seeds=(0,))
    found = run(recipe, tmp_path, plan=PLANS["alone"])
    assert any("scheduler.step_size = 500 is more than" in c for c in judge(found).caveats)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler.name": "StepLr"}, "did you mean 'StepLR'"),
        ({"scheduler.name": "ChainedScheduler"}, "scheduler.name: .* needs other schedulers"),
        ({"scheduler.steps": 1}, "scheduler.steps: .* did you mean 'step_size'"),
        ({"scheduler.gamma": "big"}, "scheduler: .*refused"),
    ],
)
def test_bad_schedulers_stop_before_a_folder_is_made(tmp_path, changes, message):
    with pytest.raises(ArgumentError, match=message):
        run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def small(**options):
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 6, generator=generator), torch.arange(60) % 3
    return droplab.sweep(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        (inputs[:40], targets[:40]),
        (inputs[40:], targets[40:]),
        **{"rates": [0.5], "seeds": 2, "epochs": 2, "batch_size": 10, "out": "run", **options},
    )


def test_a_sweep_of_ones_own_model_with_both():
    found = small(clip=0.1, scheduler=SchedulerSpec("StepLR", {"step_size": 1}))
    assert (found.run.recipe.clip, found.run.recipe.scheduler.name) == (0.1, "StepLR")
    plain = small(out="plain", execution=ExecutionPlan.from_dict(found.run.plan))
    assert plain.run.rows[0].train_loss != found.run.rows[0].train_loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": -1.0}, "clip: expected a norm above 0, got -1.0"),
        ({"scheduler": "StepLR"}, "scheduler: expected a table, got 'StepLR'"),
        ({"scheduler": SchedulerSpec("Steps")}, "scheduler.name: .*got 'Steps'"),
        (
            {"scheduler": SchedulerSpec("OneCycleLR", {"max_lr": 0.1, "total_steps": 1000})},
            r"8 times in this run \(2 epochs of 4 steps\), got 1000; write total_steps = 8",
        ),
    ],
)
def test_bad_options_of_a_sweep(options, message):
    with pytest.raises((ArgumentError, RecipeError), match=message):
        small(**options)
