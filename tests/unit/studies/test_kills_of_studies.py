"""A study whose driver, or whose trials, are killed anywhere ends as one that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from droplab import results
from droplab.studies import Trial
from tests.forks import fork, needs_forks
from tests.unit.studies import loops
from tests.unit.studies.loops import begin

KILLS = int(os.environ.get("DROPLAB_KILLS", "6"))
SEED = int(os.environ.get("DROPLAB_KILLS_SEED", "0"))


class Noted:
    """A loop that keeps its state at every batch, and notes which trials have begun.

    Args:
        log: The file of its notes.
        dies: Which trials kill their own process, once, and before which report of theirs.
    """

    def __init__(self, log: Path, dies: dict[tuple[str, int], int] | None = None) -> None:
        self.log, self.dies = log, dies or {}

    def begun(self) -> list[tuple[str, int]]:
        """The trials that have begun, in order; the notes are taken away."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [(arm, int(seed)) for arm, seed in map(str.split, lines)]

    def __call__(self, trial: Trial) -> None:
        with self.log.open("a") as file:
            file.write(f"{trial.arm} {trial.seed}\n")
        dead = self.log.with_name(f"{trial.arm}-{trial.seed}.dead")
        at = None if dead.exists() else self.dies.get((trial.arm, trial.seed))
        model = trial.place(loops.network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        loader = DataLoader(loops.data()[0], 5, shuffle=True)
        trial.checkpoint(model, optimizer, every=0)
        for epoch in trial.epochs(3):
            for inputs, targets in trial.batches(loader):
                loss = (model(inputs + torch.randn(6)) - targets).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch == at:
                dead.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            trial.report(val_loss=loss.detach())
        if at == 4:
            dead.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def rows(folder: Path) -> dict[tuple[str, int], list]:
    found: dict[tuple[str, int], list] = {}
    for row in results.load(folder / "study").rows:
        values = {name: value for name, value in row.values.items() if value == value}
        found.setdefault((row.arm, row.seed), []).append((row.epoch, values))
    return found


def done(folder: Path) -> set[tuple[str, int]]:
    if not (folder / "study" / "run.sqlite").exists():
        return set()
    members = results.load(folder / "study").members
    return {(member.arm, member.seed) for member in members if member.state == "done"}


def drive(folder: Path, log: Path, resume: bool) -> None:
    begin(folder, seeds=3, resume=resume).run(Noted(log))


@needs_forks
def test_a_driver_killed_anywhere_loses_and_repeats_nothing(tmp_path: Path):
    chosen = random.Random(SEED)
    loop = Noted(tmp_path / "log")
    whole, mine = tmp_path / "whole", tmp_path / "mine"
    began = time.perf_counter()
    begin(whole, seeds=3).run(loop)
    took = time.perf_counter() - began
    loop.begun()
    kept: dict[tuple[str, int], list] = {}
    for kill in range(KILLS + 1):
        before = done(mine)
        driver = fork(drive, mine, loop.log, kill > 0)
        if kill < KILLS:
            driver.join(chosen.uniform(0, took / 2))
            driver.kill()
        driver.join()
        assert not before & set(loop.begun())  # nothing that is finished is run again
        assert before <= done(mine)
        now = rows(mine) if done(mine) else {}
        assert all(now[trial] == kept[trial] for trial in before)
        kept = {trial: now[trial] for trial in done(mine)}
    assert done(mine) == done(whole)
    assert rows(mine) == rows(whole)
    assert not list((mine / "study" / "trials").iterdir())  # nothing is left, half written or whole


@pytest.mark.slow
def test_trials_killed_anywhere_are_failed_and_go_on(tmp_path: Path):
    whole, mine = tmp_path / "whole", tmp_path / "mine"
    begin(whole, seeds=2).run(Noted(tmp_path / "other"))
    dies = {("none", 0): 1, ("half", 0): 3, ("half", 1): 4}
    loop = Noted(tmp_path / "log", dies)
    found = begin(mine, seeds=2)
    found.run(loop, workers=2)
    failed = {(m.arm, m.seed): m.message for m in found.result().members if m.state == "failed"}
    assert failed == dict.fromkeys(dies, "its process died (exit code -9)")
    assert sorted(loop.begun()) == sorted([*dies, ("none", 1)])
    begin(mine, seeds=2, resume=True).run(loop)
    assert sorted(loop.begun()) == sorted(dies)
    assert rows(mine) == rows(whole)
