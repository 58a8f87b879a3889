# ruff: noqa: NPY002 # loops of other people draw from it
"""A trial that is stopped goes on to the same bits, wherever it was stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from droplab.errors import ArgumentError, DroplabError, RunError
from droplab.recipe import Recipe, own_loop
from droplab.results import EpochRow
from droplab.studies import Trial, _trial_checkpoint
from droplab.studies._loop_trial import run_trial
from droplab.studies._own_arms import read_arms
from tests.unit.studies import loops
from tests.unit.studies.loops import begin, message

ARMS = {"none": {}, "half": {"last": 0.5, "schedule": {"name": "early", "steps": 9}}}
RECIPE: Recipe = own_loop("on", "", loops.METRICS, "val_loss", read_arms(ARMS), [0, 1])


class Stopped(BaseException):
    """What a kill is: nothing of the loop runs after it."""


class Rows(Dataset[Any]):
    """Twenty examples with an augmentation that draws in the data set."""

    def __init__(self) -> None:
        self.x, self.y = loops.data()[0].tensors

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        return self.x[index] + 0.1 * torch.randn(6) + 0.1 * np.random.rand(), self.y[index]


class Net(nn.Module):
    """Drops at a site, by a module, and by a function; and has statistics of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 16), nn.BatchNorm1d(16)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(torch.relu(self.norm(self.first(x))))
        return self.last(F.dropout(x, 0.1, self.training))


class Loop:
    """A loop that can be stopped after some number of its batches and epochs.

    Args:
        stop: After how many of them; None for never.
        workers: Of the data loader.
    """

    def __init__(self, stop: int | None = None, workers: int = 0) -> None:
        self.stop, self.workers = stop, workers
        self.places = 0
        self.weights: dict[str, torch.Tensor] = {}

    def here(self) -> None:
        self.places += 1
        if self.places == self.stop:
            raise Stopped

    def __call__(self, trial: Trial) -> None:
        model = trial.place(Net())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        slow = torch.optim.Adam(model.last.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12)
        order = torch.Generator().manual_seed(trial.seed)
        totals: dict[str, float] = {}
        loaders = [
            DataLoader(Rows(), 5, shuffle=True, num_workers=self.workers),
            DataLoader(Rows(), 10, shuffle=True, generator=order),
        ]
        parts = (model, optimizer, slow, scheduler, order, totals)
        trial.checkpoint(*parts, every=0)
        model(torch.randn(4, 6))  # runs again when the trial goes on
        for _ in trial.epochs(2):
            totals["loss"] = 0.0
            for which, loader in (
                (optimizer, trial.batches(loaders[0])),
                (slow, loaders[1]),
            ):
                model.train()
                for inputs, targets in loader:
                    noise = trial.rng.normal() + random.random() + torch.rand(())
                    loss = (model(inputs + 0.01 * noise) - targets).square().mean()
                    which.zero_grad()
                    loss.backward()
                    which.step()
                    scheduler.step()
                    totals["loss"] += loss.item()
                    self.here()
                model(torch.randn(4, 6))
            trial.report(val_loss=loss.detach(), train_loss=totals["loss"])
            self.here()
        self.weights = dict(model.state_dict())


def run_to_the_end(
    folder: Path, arm: str, stops: list[int], workers: int = 0
) -> tuple[list[EpochRow], dict[str, torch.Tensor], dict[str, Any]]:
    folder.mkdir()
    keep = folder / "trials" / "it.pt"
    for stop in [*stops, None]:
        loop, rows = Loop(stop, workers), list[EpochRow]()
        try:
            ended = run_trial(RECIPE, arm, 0, loop, rows.append, keep)
        except Stopped:
            continue
        assert ended.state == "done", ended.message
        return rows, loop.weights, ended.seen
    raise AssertionError


def numbers(rows: list[EpochRow]) -> list[Any]:
    return [(row.epoch, row.values) for row in rows]


@pytest.mark.parametrize("seed", range(6))
def test_a_trial_stopped_anywhere_has_the_bits_of_one_that_was_not(
    tmp_path: Path, seed: int, monkeypatch
):
    chosen = random.Random(seed)
    arm = chosen.choice(["none", "half"])
    rows, weights, seen = run_to_the_end(tmp_path / "whole", arm, [])
    often = chosen.choice([0.3, 0.7, 1.0])  # nor is it kept at every place where it could be
    monkeypatch.setattr(
        _trial_checkpoint.TrialCheckpoint, "is_due", property(lambda _: chosen.random() < often)
    )
    stops = [chosen.randint(1, 14) for _ in range(chosen.randint(1, 3))]
    again = run_to_the_end(tmp_path / "stopped", arm, stops)
    assert numbers(again[0]) == numbers(rows), stops
    assert all(torch.equal(again[1][name], weights[name]) for name in weights), stops
    assert again[2] == seen, stops


def test_it_goes_on_where_loaders_have_workers(tmp_path: Path):
    rows, weights, seen = run_to_the_end(tmp_path / "whole", "half", [], workers=1)
    again = run_to_the_end(tmp_path / "stopped", "half", [9], workers=1)
    assert numbers(again[0]) == numbers(rows)
    assert all(torch.equal(again[1][name], weights[name]) for name in weights)
    assert again[2] == seen


def test_it_goes_on_and_does_not_begin_anew(tmp_path: Path):
    keep = tmp_path / "trials" / "it.pt"
    with pytest.raises(Stopped):
        run_trial(RECIPE, "half", 0, Loop(9), print, keep)
    loop = Loop()
    rows: list[EpochRow] = []
    run_trial(RECIPE, "half", 0, loop, rows.append, keep)
    assert loop.places == 14 - 8  # after the ninth nothing was kept
    assert [row.epoch for row in rows] == [1, 2]


def test_a_study_goes_on_within_a_trial_and_keeps_nothing_of_those_that_ended(tmp_path: Path):
    whole = begin(tmp_path / "whole", arms=ARMS)
    whole.run(Loop())

    class Killed(Loop):
        def __call__(self, trial: Trial) -> None:
            self.stop = 11 if (trial.arm, trial.seed) == ("half", 0) else None
            self.places = 0
            super().__call__(trial)

    mine = begin(tmp_path / "mine", arms=ARMS)
    with pytest.raises(Stopped):
        mine.run(Killed())
    kept = tmp_path / "mine" / "study" / "trials"
    assert [path.name for path in kept.iterdir()] == ["1-half-seed0.pt"]
    loop = Loop()
    begin(tmp_path / "mine", arms=ARMS, resume=True).run(loop)
    assert loop.places == 14 * 3 - 10
    assert not list(kept.iterdir())
    one, two = (
        [(r.arm, r.seed, r.epoch, r.values) for r in study.result().rows] for study in (whole, mine)
    )
    assert sorted(one, key=str) == sorted(two, key=str)


def test_a_trial_that_raises_begins_anew(tmp_path: Path):
    class Raises(Loop):
        def here(self) -> None:
            raise ValueError("odd")

    mine = begin(tmp_path, arms=ARMS, seeds=1)
    with pytest.raises(RunError, match="ValueError: odd"):
        mine.run(Raises())
    loop = Loop()
    begin(tmp_path, arms=ARMS, seeds=1, resume=True).run(loop)
    assert loop.places == 14 * 2


def _not_placed(trial: Trial) -> None:
    trial.place(loops.network())
    trial.checkpoint(loops.network())


def _no_optimizer(trial: Trial) -> None:
    model = trial.place(loops.network())
    trial.checkpoint(model, every=0)
    loops.fit(trial, model)


def _late(trial: Trial) -> None:
    model = trial.place(loops.network())
    for _ in trial.epochs(1):
        trial.checkpoint(model)


def _two_models(trial: Trial) -> None:
    model = trial.place(loops.network())
    trial.checkpoint(model)
    trial.place(loops.network())


def _nested(trial: Trial) -> None:
    model = trial.place(loops.network())
    trial.checkpoint(model)
    for _ in trial.epochs(1):
        for _ in trial.batches([1, 2]):
            list(trial.batches([3]))


def _persistent(trial: Trial) -> None:
    model = trial.place(loops.network())
    trial.checkpoint(model)
    loader = DataLoader(Rows(), num_workers=1, persistent_workers=True)
    for _ in trial.epochs(1):
        next(trial.batches(loader))


def _odd_part(trial: Trial) -> None:
    trial.checkpoint(trial.place(loops.network()), 3)


def _odd_state(trial: Trial) -> None:
    model = trial.place(loops.network())
    trial.checkpoint(model, {"path": Path()}, every=0)
    for _ in trial.epochs(2):
        model(torch.zeros(2, 6))
        trial.report(val_loss=1.0)


def _never(trial: Trial) -> None:
    trial.checkpoint(trial.place(loops.network()), every=-1)


def _outside(trial: Trial) -> None:
    trial.checkpoint(trial.place(loops.network()))
    list(trial.batches([1]))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (_not_placed, "expected the placed model among the parts"),
        (_no_optimizer, "every optimizer among the parts, got none for SGD"),
        (_late, "once, right before trial.epochs"),
        (_two_models, "expected one placed model"),
        (_nested, "got another; write trial.batches(zip(one, two))"),
        (_persistent, "persistent_workers"),
        (_odd_part, "part 2: expected what has state_dict and load_state_dict"),
        (_odd_state, "expected states made of tensors, numbers"),
        (_never, "every: expected seconds, got -1"),
        (_outside, "inside of each of trial.epochs, got one outside"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, train, words: str):
    mine = begin(tmp_path, seeds=1)
    with pytest.raises(DroplabError):
        mine.run(train)
    assert words in message(mine)


def test_another_loop_or_a_damaged_file_is_one_sentence(tmp_path: Path):
    keep = tmp_path / "trials" / "it.pt"
    with pytest.raises(Stopped):
        run_trial(RECIPE, "half", 0, Loop(9), print, keep)
    kept = keep.read_bytes()

    def other(trial: Trial) -> None:
        model = trial.place(Net())
        trial.checkpoint(model, torch.optim.SGD(model.parameters(), lr=1.0))

    found = run_trial(RECIPE, "half", 0, other, print, keep)
    assert "give the same parts in the same order" in found.message
    keep.write_bytes(kept[: len(kept) // 2])
    found = run_trial(RECIPE, "half", 0, Loop(), print, keep)
    assert "delete the file to begin this trial anew" in found.message


def test_what_other_versions_kept_is_not_gone_on_from(tmp_path: Path, monkeypatch):
    keep = tmp_path / "trials" / "it.pt"
    with pytest.raises(Stopped):
        run_trial(RECIPE, "half", 0, Loop(9), print, keep)
    monkeypatch.setattr(_trial_checkpoint, "environment", lambda: {"packages": {"torch": "1"}})
    loop = Loop()
    assert run_trial(RECIPE, "half", 0, loop, print, keep).state == "done"
    assert loop.places == 14


def test_without_a_checkpoint_batches_are_those_of_the_loader(tmp_path: Path):
    trial = Trial(RECIPE, "none", 0, print)
    assert list(trial.batches([1, 2])) == [1, 2]
    with pytest.raises(ArgumentError):
        trial.checkpoint(every="soon")
