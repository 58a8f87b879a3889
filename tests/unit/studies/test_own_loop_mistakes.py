"""What a study refuses, and what a loop does wrong: one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from droplab import results
from droplab.errors import ArgumentError, DroplabError, RecipeError, RunError
from droplab.studies import Trial
from tests.unit.studies import loops
from tests.unit.studies.loops import begin, message


def _report(**values):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        for _ in trial.epochs(1):
            model(torch.zeros(2, 6))
            trial.report(**values)

    return train


def _twice(trial: Trial) -> None:
    model = trial.place(loops.network())
    for _ in trial.epochs(1):
        model(torch.zeros(2, 6))
        trial.report(val_loss=1.0)
        trial.report(val_loss=1.0)


def _never_called(trial: Trial) -> None:
    trial.place(loops.network())
    for _ in trial.epochs(1):
        trial.report(val_loss=1.0)


def _no_report(trial: Trial) -> None:
    trial.place(loops.network())(torch.zeros(2, 6))


def _ignored(trial: Trial) -> None:
    loops.network()(torch.zeros(2, 6))
    trial.report(val_loss=0.5)


def _other_model(trial: Trial) -> None:
    trial.place(nn.Sequential(nn.Linear(6, 3)))


def _nested(trial: Trial) -> None:
    Trial(trial._recipe, "none", 5, print).open()


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (_ignored, "nothing was placed"),
        (_no_report, "without a report"),
        (_never_called, "every planned site to fire"),
        (_twice, "one report an epoch"),
        (_report(val_los=1.0), "did you mean 'val_loss'"),
        (_report(train_loss=1.0), "expected val_loss, which decides"),
        (_report(val_loss="low"), "expected a number, got 'low'"),
        (_report(val_loss=torch.zeros(3)), "expected a number"),
        (_nested, "no trial inside another one"),
        (lambda trial: list(trial.epochs(0)), "at least 1, got 0"),
        (lambda trial: [trial.place(loops.network()) for _ in trial.epochs(2)], "in every epoch"),
    ],
)
def test_what_a_loop_does_wrong_fails_its_trial_in_one_sentence(tmp_path: Path, train, words: str):
    mine = begin(tmp_path, seeds=1)
    with pytest.raises(DroplabError):
        mine.run(train)
    assert words in message(mine)
    # and nothing of a watched trial is left
    from torch.utils.data import dataloader

    assert not hasattr(dataloader._BaseDataLoaderIter.__next__, "of_a_trial")


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"fc9": 0.5}, r"arms\.late: rates: 'fc9' matches no site"),
        ({"existing": {"drop9": 0.5}}, r"arms\.late\.existing: 'drop9' matches nothing"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_arm_that_fits_no_model_ends_the_study_before_anything_is_trained(
    tmp_path: Path, arm, words: str, workers: int
):
    arms = {"none": {}, "half": 0.5, "late": arm}
    mine = begin(tmp_path, arms=arms, seeds=4)
    with pytest.raises(RunError, match=f"study: no trial can be run; {words}"):
        mine.run(loops.plain, workers=workers)
    again = begin(tmp_path, arms={**arms, "late": 0.1}, seeds=1)  # its folder is free again
    again.run(loops.plain)
    assert {each.state for each in again.result().members} == {"done"}


def test_an_arm_that_fits_no_longer_ends_the_study_and_keeps_what_was_measured(tmp_path: Path):
    begin(tmp_path, seeds=1).run(loops.plain)
    mine = begin(tmp_path, seeds=1, resume=True)
    with results.StudyStore.open_for_resume(mine.folder) as store:
        store.begin("half", 0)  # as if it had been stopped
    with pytest.raises(RunError, match=r"study: no trial can be run; arms\.half"):
        mine.run(_other_model)
    found = mine.result()
    assert {each.arm: each.state for each in found.members} == {"none": "done", "half": "failed"}
    assert {row.arm for row in found.rows} == {"none"}


def test_an_error_over_many_lines_in_colours_is_told_in_one(tmp_path: Path):
    def train(trial: Trial) -> None:
        raise RuntimeError("this file:\n\t(1) \x1b[1mis not there\x1b[0m\n\t(2) " + "or " * 2000)

    with pytest.raises(RunError):
        begin(tmp_path).run(train)
    told = message(begin(tmp_path, resume=True))
    assert told.startswith("RuntimeError: this file: (1) is not there (2) or or")
    assert "\n" not in told
    assert len(told) < 2500
    assert "test_own_loop_mistakes.py:" in told


def test_a_report_after_the_trial_has_ended_is_refused(tmp_path: Path):
    kept: list[Trial] = []

    def train(trial: Trial) -> None:
        loops.plain(trial)
        kept.append(trial)

    begin(tmp_path).run(train)
    with pytest.raises(RunError, match="after the trial had ended"):
        kept[0].report(val_loss=1.0)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"arms": {}}, RecipeError, "at least one arm"),
        ({"arms": 0.5}, RecipeError, "expected names and what drops"),
        ({"arms": {"a": {}, "b": {}}}, RecipeError, "exactly one baseline"),
        ({"arms": {"none": {}, "b": "much"}}, RecipeError, "arms.b: expected a rate"),
        ({"arms": {"none": {}, "b": 1.5}}, RecipeError, "1.5"),
        ({"metrics": {}}, ArgumentError, "expected names and"),
        ({"metrics": {"a": "up"}}, RecipeError, "'lower' or 'higher'"),
        ({"primary": "loss"}, RecipeError, "did you mean|valid names"),
        ({"seeds": 0}, ArgumentError, "from 1 to"),
        ({"seeds": [1, 1]}, RecipeError, "more than once"),
        ({"seeds": "many"}, ArgumentError, "how many, or which"),
    ],
)
def test_a_study_that_cannot_be_is_refused(tmp_path: Path, changes, error, words: str):
    with pytest.raises(error, match=words):
        begin(tmp_path, **changes)
    assert not (tmp_path / "study").exists()


def test_two_drivers_on_one_folder_are_refused(tmp_path: Path):
    mine = begin(tmp_path)
    for _ in mine:
        with pytest.raises(RunError, match="another droplab is writing"):
            begin(tmp_path, resume=True).run(loops.plain)
        break
    for _ in mine:
        break
    mine._loop.close()
    with pytest.raises(RunError, match="another recipe"):
        begin(tmp_path, resume=True, arms={"none": {}, "other": 0.2}).run(loops.plain)


@pytest.mark.parametrize("train", [lambda trial: None, 3])
def test_workers_need_a_function_that_can_be_imported(tmp_path: Path, train):
    with pytest.raises(ArgumentError, match="expected a function"):
        begin(tmp_path).run(train, workers=2)
    assert not (tmp_path / "study").exists()
