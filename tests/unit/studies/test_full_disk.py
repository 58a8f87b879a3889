"""A disk that fills up while a run is written: one sentence, nothing lost, and a resume works."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import resource
import sqlite3
import sys
from pathlib import Path

import pytest

import droplab.cli
from droplab import results
from droplab.errors import RunError
from droplab.recipe import load, override
from droplab.results import RunStore
from droplab.studies import Observer, run
from droplab.train import ExecutionPlan
from tests.forks import fork, needs_forks

PLANS = {
    "single": ExecutionPlan(1),
    "group": ExecutionPlan(1, group=2),
    "workers": ExecutionPlan(1, workers=1),
    "group workers": ExecutionPlan(1, group=2, workers=1),
}
"""Of eager steps: to record them takes longer than to train, and changes nothing on the disk."""


def tiny():
    recipe = override(load("digits"), {"epochs": 3, "seeds": [0], "data.train": 60})
    return dataclasses.replace(recipe, arms=recipe.arms[:2])


class Rows(Observer):
    """Calls a function once so many rows are confirmed."""

    def __init__(self, count, then):
        self._left, self._then = count, then

    def epoch_done(self, row):
        self._left -= 1
        if not self._left:
            self._then()


def run_with_little_room(folder: Path) -> None:
    """Write down how runs end that may not write files over 120 000 bytes, as `ulimit -f` does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))
    with (folder / "errors").open("w") as errors, (folder / "told").open("w") as told:
        os.dup2(errors.fileno(), sys.stderr.fileno())
        for name, plan in PLANS.items():
            droplab.cli.group.main = lambda name=name, plan=plan, **_: run(
                tiny(), folder / name, plan=plan
            )
            words = io.StringIO()
            with contextlib.redirect_stderr(words):
                try:
                    droplab.cli.main()
                except SystemExit as stop:
                    told.write(json.dumps([name, stop.code, words.getvalue()]) + "\n")


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    process = fork(run_with_little_room, folder)
    process.join()
    assert process.exitcode == 0
    assert "Traceback" not in (folder / "errors").read_text()
    told = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
    return folder, {name: (code, words) for name, code, words in told}


@needs_forks
@pytest.mark.parametrize("plan", PLANS)
def test_a_checkpoint_that_does_not_fit_is_a_sentence_and_the_run_resumes(plan, limited):
    """The database fits, a checkpoint does not."""
    folder, ended = limited[0] / plan, limited[1]
    code, told = ended[plan]
    assert code == 2, told
    assert "the disk is full; free some space and resume" in told
    assert "defect" not in told
    assert "Traceback" not in told
    assert not list((folder / "checkpoints").iterdir())
    result = run(tiny(), folder, resume=True)
    assert {member.state for member in result.members} == {"done"}
    assert len(result.rows) == 2 * 3


@pytest.mark.parametrize("plan", ["single", "group"])
def test_a_disk_that_fills_up_later_loses_no_confirmed_row(plan, tmp_path, monkeypatch):
    def full():
        def fail(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("droplab.train.checkpoint.save_file", fail)

    folder = tmp_path / "run"
    with pytest.raises(RunError, match="safetensors: the disk is full; free some space"):
        run(tiny(), folder, plan=PLANS[plan], observer=Rows(2, full))
    monkeypatch.undo()
    before = results.load(folder).rows
    assert len(before) >= 2
    after = run(tiny(), folder, resume=True).rows
    assert set(before) <= set(after)
    whole = run(tiny(), tmp_path / "whole", plan=PLANS[plan]).rows
    assert [row.val_loss for row in after] == [row.val_loss for row in whole]


@pytest.mark.parametrize("plan", PLANS)
def test_a_database_that_is_full_loses_no_confirmed_row(plan, tmp_path, monkeypatch):
    stores: list[RunStore] = []
    real = RunStore.set_member_state

    def remember(self, *args):
        stores.append(self)
        real(self, *args)

    def full():
        sql = stores[0]._connection
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages}")
        monkeypatch.setattr(RunStore, "commit_epochs", overflowing)

    def overflowing(self, rows, *_):
        self.set_note("x", "x" * 100_000)

    monkeypatch.setattr(RunStore, "set_member_state", remember)
    folder = tmp_path / "run"
    with pytest.raises(RunError, match=r"run.sqlite: the disk is full; free some space"):
        run(tiny(), folder, plan=PLANS[plan], observer=Rows(2, full))
    monkeypatch.undo()
    before = results.load(folder).rows
    assert len(before) >= 2
    assert set(before) <= set(run(tiny(), folder, resume=True).rows)


@pytest.mark.parametrize("plan", PLANS)
def test_a_folder_that_is_removed_stops_the_run_and_stays_away(plan, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RunError, match="gone, it was removed"):
        run(
            tiny(),
            folder,
            plan=PLANS[plan],
            observer=Rows(2, lambda: folder.rename(tmp_path / "moved")),
        )
    assert not folder.exists()


def test_sqlite_tells_a_full_disk_by_its_code(tmp_path):
    """What the tests above provoke is what SQLite itself says of a disk without space."""
    sql = sqlite3.connect(tmp_path / "x")
    sql.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full") as caught:
        sql.execute("CREATE TABLE t (x)")
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    sql.close()
