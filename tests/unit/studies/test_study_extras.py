"""Studies whose seeds are folds, that have their function already, and that are watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from droplab.errors import ArgumentError, RecipeError
from droplab.recipe import load, override
from droplab.results import EpochRow
from droplab.studies import FreeTrial, Observer, run
from tests.unit.studies import loops
from tests.unit.studies.loops import begin


def test_seeds_that_are_folds_are_judged_as_folds(tmp_path: Path):
    mine = begin(tmp_path, seeds=None, folds=5)
    verdict = mine.run(loops.plain)
    assert (verdict.folds, verdict.unit) == (5, "fold")
    assert verdict.arm("half").seeds == (0, 1, 2, 3, 4)
    assert load(tmp_path / "study" / "recipe.toml") == mine.result().recipe
    assert "5, as the loop has made them: seed s is fold s mod 5" in mine.report().read_text()
    assert begin(tmp_path / "b", seeds=5).recipe.digest != mine.recipe.digest


def test_with_a_margin_an_improvement_can_be_absent(tmp_path: Path):
    """Over folds; over seeds it takes the error of the examples, which no loop reports."""

    def train(trial):
        model = trial.place(loops.network())
        model(loops.data()[0].tensors[0])
        trial.report(val_loss=1.0 + 0.01 * (trial.arm == "half") * (-1) ** trial.seed)

    mine = begin(tmp_path, seeds=None, folds=5, margin_size=0.1, metrics={"val_loss": "lower"})
    verdict = mine.run(train)
    assert verdict.arm("half").word == "does not help by 0.100 or more"
    assert verdict.headline.startswith("Dropout does not help by 0.100 or more at the end: ")
    assert load(tmp_path / "study" / "recipe.toml").margin_size == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin_size": -1.0}, "margin_size"),
        ({"margin_size": "x"}, "margin_size"),
        ({"seeds": 7, "folds": 5}, "whole repeats of folds = 5"),
        ({"seeds": None, "folds": 1}, "expected how many folds"),
        ({"seeds": None, "folds": "x"}, "expected how many folds"),
    ],
)
def test_folds_that_are_none_are_refused(tmp_path: Path, changes, message: str):
    with pytest.raises(RecipeError, match=message):
        begin(tmp_path, **changes)


def test_a_study_may_have_its_function_already(tmp_path: Path):
    mine = begin(tmp_path, train=loops.plain)
    mine.run()
    assert mine.result().recipe.loop.train == "tests.unit.studies.loops:plain"
    with pytest.raises(ArgumentError, match="run: expected a function of a trial, got None"):
        begin(tmp_path / "b").run()


class Watching(Observer):
    def __init__(self) -> None:
        self.rows: list[EpochRow] = []
        self.states: list[tuple[str, int, str]] = []

    def epoch_done(self, row: EpochRow) -> None:
        self.rows.append(row)

    def ended(self, arm, seed, state) -> None:
        self.states.append((arm, seed, state))


def test_an_observer_is_told_of_what_is_on_disk(tmp_path: Path):
    watching = Watching()
    mine = begin(tmp_path, observer=watching)
    mine.run(loops.fails_in_one)
    assert [row.values for row in mine.result().rows] == [row.values for row in watching.rows]
    assert sorted(watching.states) == sorted(
        (m.arm, m.seed, m.state) for m in mine.result().members
    )


def test_an_observer_of_a_recipe_is_told_how_each_replica_ended(tmp_path: Path):
    watching = Watching()
    recipe = override(load("digits"), {"epochs": 1, "seeds": [0]})
    result = run(recipe, tmp_path / "run", observer=watching)
    assert len(watching.rows) == len(result.rows)
    assert sorted(watching.states) == sorted((arm.name, 0, "done") for arm in recipe.arms)


def test_a_trial_says_what_it_wants_and_has_a_name_for_files(tmp_path: Path):
    names: list[str] = []

    def train(trial):
        assert trial.metrics == ("train_loss", "val_loss")
        names.append(trial.name)
        loops.plain(trial)

    begin(tmp_path, arms={"a b": {}, "a-b": 0.5}, primary="train_loss").run(train)
    assert len(set(names)) == 4
    assert all("/" not in name and " " not in name for name in names)
    assert (FreeTrial().name, FreeTrial().metrics) == ("none", ())
