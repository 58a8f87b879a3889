"""Arms that change dropout which the model has, on disk and in words."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.errors import DroplabError, RecipeError
from droplab.recipe import (
    Arm,
    DataSpec,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    ScheduleSpec,
    dumps,
    loads,
    override,
)
from droplab.report import render, render_markdown
from droplab.results import load as load_run
from droplab.studies import Observer, resolve, run
from droplab.train import ExecutionPlan
from droplab.verdict import judge

HERE = "tests.unit.studies.test_existing"


class Net(nn.Module):
    def __init__(self, p=0.2):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)
        self.drop, self.idle = nn.Dropout(p), nn.Dropout(p)

    def forward(self, x):
        x = self.drop(torch.relu(self.first(x.flatten(1))))
        return self.last(F.dropout(x, 0.1, self.training))


NAMES = {"drop": 0.2, "F.dropout": 0.1}


def recipe(*arms, seeds=(0,), epochs=1):
    return Recipe(
        name="small",
        data=DataSpec("digits", train=64, validation=100),
        model=ModelSpec(f"{HERE}:Net"),
        optimizer=OptimizerSpec("Adam", {"lr": 0.003}),
        epochs=epochs,
        batch_size=16,
        seeds=seeds,
        arms=arms,
    )


TEXT = """
name = "small"
epochs = 1
batch_size = 16
data.name = "digits"
model.path = "mlp"
optimizer.name = "Adam"
"""
OFF = Arm("off", existing={"*": 0})
MORE = Arm("more", existing={"drop": 0.5})


def test_the_baseline_is_the_model_as_it_is_or_the_one_arm_with_nothing_but_zeros():
    assert recipe(Arm("none"), OFF, MORE).baseline.name == "none"
    assert recipe(MORE, OFF).baseline.name == "off"
    assert recipe(Arm("zero", {"last": 0.0}), OFF).baseline.name == "zero"
    for arms, found in (
        ((MORE,), "none"),
        ((OFF, Arm("off too", existing={"drop": 0}), MORE), r"2 \('off', 'off too'\)"),
        ((Arm("a"), Arm("b"), OFF), r"2 \('a', 'b'\)"),
    ):
        with pytest.raises(RecipeError, match=f"expected exactly one baseline, .* got {found}"):
            recipe(*arms)


def test_a_recipe_is_written_and_read_with_what_its_arms_change():
    schedule = ScheduleSpec("late", {"start": 3})
    one = recipe(Arm("none"), Arm("a", {"*": 0.1}, None, {"*.drop": 0.2}, schedule), OFF)
    two = loads(dumps(one))
    assert two == one
    assert two.digest == one.digest != recipe(Arm("none"), Arm("a", {"*": 0.1}), OFF).digest
    assert '"*" = 0.1' in dumps(one)
    assert "start = 3" in dumps(one)
    assert override(one, {"arms.a.schedule.start": 5}).arm("a").schedule.arguments == {"start": 5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("existing = { drop = 30 }", r"arms.x.existing.drop: .*did you mean 0.3\?"),
        ("existing = 0.1", "arms.x.existing: expected a table, got 0.1"),
        ("exsting = { drop = 0.1 }", r"arms.x.exsting: unknown key; did you mean 'existing'\?"),
        ("lr = 0.1", "its keys are name, rates, kind, existing and schedule"),
        ("schedule = { name = 'early', steps = 3 }", "arms.x: expected a schedule only with rates"),
        ("schedule = 'early'", "arms.x.schedule: expected a table, got 'early'"),
        ("schedule = { steps = 3 }", "arms.x.schedule.name: this key is required"),
        (
            "schedule = { name = 'erly', steps = 3 }",
            r"arms.x.schedule: expected a schedule, got 'erly'; did you mean 'early'\?",
        ),
        (
            "schedule = { name = 'early', step = 3 }",
            r"arms.x.schedule: early: unknown argument 'step'; did you mean 'steps'\?",
        ),
        ("schedule = { name = 'early' }", "early: expected steps, a whole number"),
        ("schedule = { name = 'early', steps = -1 }", "early.steps: expected a whole number"),
        ("schedule = { name = 'linear', steps = 9, start = 2 }", "a drop probability in"),
    ],
)
def test_what_an_arm_cannot_be_is_one_clear_error(given, message):
    text = f"{TEXT}[[arms]]\nname = 'none'\n[[arms]]\nname = 'x'\n{given}\n"
    with pytest.raises(RecipeError, match=message):
        loads(text)


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        ({"dorp": 0.1}, r"arms.a.existing: 'dorp' matches no rate; did you mean 'drop'\?"),
        ({"idle": 0.1}, "'idle' means 'idle', and nothing that the model runs"),
        ({"last": 0.1}, "'last' is a site, where rates adds dropout"),
    ],
)
def test_a_name_that_means_nothing_is_told_before_training(existing, message):
    with pytest.raises(DroplabError, match=message):
        resolve(recipe(Arm("none"), Arm("a", existing=existing)))


def test_a_star_is_every_hidden_site():
    found = resolve(recipe(Arm("none"), Arm("a", {"*": 0.1}), Arm("b", {"*": 0.2, "first": 0.3})))
    assert found.rates == {
        "none": {"first": 0.0, "last": 0.0},
        "a": {"first": 0.0, "last": 0.1},
        "b": {"first": 0.3, "last": 0.2},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "run"
    arms = Arm("none"), Arm("star", {"*": 0.3}), OFF, MORE
    spec = recipe(*arms, seeds=(0, 1), epochs=2)
    run(spec, place, plan=ExecutionPlan(1))
    return place


def test_a_run_notes_what_its_arms_mean(folder):
    result = load_run(folder)
    assert json.loads(result.notes["dropout"]) == NAMES
    assert json.loads(result.notes["arms"]) == {
        "star": {"rates": {"last": 0.3}},
        "off": {"existing": {"drop": 0.0, "idle": 0.0, "F.dropout": 0.0}},
        "more": {"existing": {"drop": 0.5}},
    }
    assert result.recipe.arm("star").rates == {"*": 0.3}, "as it was written"


def test_the_words_say_what_the_baseline_drops(folder):
    result = load_run(folder)
    verdict = judge(result)
    assert "The baseline 'none' is the model with its own rates: drop 0.2, F.dropout 0.1." in (
        verdict.caveats
    )
    assert verdict.rates_text("none") == "the model's own dropout"
    assert verdict.rates_text("star") == "last 0.3"
    assert verdict.rates_text("more") == "own drop 0.5"
    assert verdict.arm("star").rates == {"last": 0.3}
    other = dataclasses.replace(result.recipe, arms=(OFF, MORE))
    rows = tuple(row for row in result.rows if row.arm in ("off", "more"))
    members = tuple(each for each in result.members if each.arm in ("off", "more"))
    verdict = judge(dataclasses.replace(result, recipe=other, rows=rows, members=members, tests=()))
    assert verdict.baseline == "off"
    assert verdict.rates_text("off") == "own * 0"
    assert verdict.without == "without dropout"
    assert (
        "In the baseline 'off' nothing drops: the model's own rates are 0 "
        "(as built: drop 0.2, F.dropout 0.1)." in verdict.caveats
    )


def test_the_report_has_sites_and_own_rates(folder):
    result = load_run(folder)
    text = render_markdown(result, judge(result))
    assert "| arm | last | own \\* | own drop |" in text
    assert "| star | 0.3 | – | – |" in text
    assert "| off | 0 | 0 | – |" in text
    assert "the model with its own rates: drop 0.2" in text
    assert "own drop" in render(result, judge(result))


def test_a_run_goes_on_to_the_same_bits_with_the_rates_of_its_arms(folder, tmp_path):
    class Stop(Observer):
        rows = 0

        def epoch_done(self, row):
            self.rows += 1
            if self.rows == 5:
                raise KeyboardInterrupt

    whole = load_run(folder)
    with pytest.raises(KeyboardInterrupt):
        run(whole.recipe, tmp_path / "part", plan=ExecutionPlan(1), observer=Stop())
    rest = run(whole.recipe, tmp_path / "part", resume=True)
    rows = [[dataclasses.replace(row, seconds=0.0) for row in each.rows] for each in (whole, rest)]
    assert rows[0] == rows[1]


def test_a_sweep_over_a_rate_that_the_model_has(tmp_path):
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(90, 64, generator=generator), torch.arange(90) % 10
    found = droplab.sweep(
        Net,
        (inputs[:60], targets[:60]),
        (inputs[60:], targets[60:]),
        existing="d*",
        rates=[0.0, 0.6],
        seeds=1,
        epochs=1,
        batch_size=20,
        out=tmp_path / "run",
    )
    arms = found.run.recipe.arms
    assert [(arm.name, arm.existing) for arm in arms] == [
        ("as built", {}),
        ("0", {"d*": 0.0}),
        ("0.6", {"d*": 0.6}),
    ]
    losses = {row.arm: row.train_loss_running for row in found.run.rows}
    assert len(set(losses.values())) == 3
    changed = {"as built": {}, "0": {"drop": 0.0}, "0.6": {"drop": 0.6}}[found.arm]
    assert found.existing == changed
    assert found.model.drop.p == changed.get("drop", 0.2)
    with pytest.raises(DroplabError, match="existing: expected no sites"):
        droplab.sweep(Net, (inputs, targets), (inputs, targets), existing="drop", sites=["last"])
