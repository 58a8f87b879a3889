"""`droplab plan`: what it says, and what `droplab run` says first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from droplab.cli import plan as plan_command
from droplab.cli import run as run_command
from droplab.errors import ArgumentError, RunError
from droplab.recipe import load, override
from droplab.studies import forecast, resolve, run, sweep_recipe
from droplab.train import ExecutionPlan, Tried

TRIED = Tried(step=1e-3, total=100.0, chosen=True)


def told(*arguments, command=plan_command):
    return CliRunner().invoke(command.command, arguments)


@pytest.fixture
def pilot(tmp_path, monkeypatch, keep_plan):
    """A short run in runs/ of the working directory, of other seeds; a longer one is planned."""
    monkeypatch.chdir(tmp_path)
    longer = override(load("digits"), {"epochs": 1})
    for arms in (longer.arms, (longer.arm("none"), longer.arm("0.5"))):
        keep_plan(replace(longer, arms=arms), ExecutionPlan(1, tried=(TRIED,)))
    recipe = override(load("digits"), {"epochs": 1, "seeds": [20, 21, 22]})
    run(recipe, tmp_path / "runs" / "pilot", arms=["none", "0.5"], plan=ExecutionPlan(1))
    return tmp_path / "runs" / "pilot"


def test_it_says_what_a_run_takes_and_what_its_seeds_see(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = told("digits", "--arm", "none", "--arm", "0.5")
    _title, counts, power, cost = found.output.splitlines()
    assert counts == "2 arms x 8 seeds x 60 epochs"
    assert power.startswith("8 seeds see an effect on validation loss from ")
    assert "standard deviations" in power
    assert cost.startswith("Training takes")
    assert cost.endswith(" of memory.")
    assert not (tmp_path / "runs").exists()


def test_a_run_in_its_place_tells_of_the_spread_and_one_that_is_named(pilot, tmp_path):
    short = ("digits", "--epochs", "1", "--json")
    document = json.loads(told(*short).output)
    assert document["spread_from"] == str(pilot)
    assert list(document["power"]["spreads"]) == ["0.5"]
    assert document["power"]["effects"]["0.5"] > 0
    assert document["cost"]["replicas"] == 32
    pilot.rename(tmp_path / "elsewhere")
    assert json.loads(told(*short).output)["spread_from"] is None
    named = json.loads(told(*short, "--from", str(tmp_path / "elsewhere")).output)
    assert named["power"] == document["power"]


def test_a_run_begins_with_the_same_lines(pilot):
    short = ("digits", "--epochs", "1", "--arm", "none", "--arm", "0.5")
    lines = told(*short).output.splitlines()
    begun = told(*short, command=run_command).output.splitlines()
    assert begun[:3] == lines[:3]
    assert "scatter by at most" in lines[2]
    assert any(line.endswith(" of memory.") for line in begun)


def test_rates_are_arms_as_in_a_sweep(keep_plan):
    keep_plan(sweep_recipe(load("digits"), [0.2, 0.4]), ExecutionPlan(1))
    document = json.loads(told("digits", "--rates", "0.2,0.4", "--json").output)
    assert document["arms"] == ["none", "0.2", "0.4"]
    assert document["power"]["tests"] == 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (("--from", "nowhere"), RunError, "expected the folder of a run"),
        (("--effect", "0"), ArgumentError, "expected a number above 0"),
        (("--effect", "nan"), ArgumentError, "expected a number above 0"),
        (("--effect", "1", "--set", "data.folds=5"), ArgumentError, "a recipe without folds"),
        (("--rates", "0"), ArgumentError, "a rate above 0"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, options, error, words):
    monkeypatch.chdir(tmp_path)
    found = told("digits", *options)
    assert isinstance(found.exception, error)
    assert words in str(found.exception)


def test_what_breaks_an_earlier_run_breaks_no_plan(pilot):
    (pilot / "run.sqlite").write_bytes(b"SQLite format 3\0 and nonsense")
    assert "standard deviations" in told("digits", "--epochs", "1").output


def test_a_forecast_is_what_was_measured():
    experiment = resolve(load("digits"))
    arms = experiment.recipe.arms
    plan = ExecutionPlan(1, tried=(Tried(total=5.0), TRIED))
    found = forecast(experiment, arms, plan)
    assert found.seconds == 100.0
    assert "about 1 min 40 s, as measured on this machine;" in found.sentence
    assert forecast(experiment, arms, plan, seeds=2).seconds == 25.0
    busy = forecast(experiment, arms, ExecutionPlan(1, tried=(TRIED,), others=0.5))
    assert "while other processes used 50 % of it" in busy.sentence
    assert forecast(experiment, arms, ExecutionPlan(1)).seconds is None
    workers = forecast(experiment, arms, ExecutionPlan(1, workers=2, tried=(TRIED,)))
    assert workers.memory > found.memory
