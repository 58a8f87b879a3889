"""`droplab run` from the outside: output, exit codes, interruption, kill -9, resumption."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sqlite3
import time

import pytest

from droplab import results
from droplab.cli import main
from droplab.recipe import load, override
from droplab.studies import run
from droplab.train import ExecutionPlan
from tests.forks import fork, needs_forks

SMALLEST = ("--seeds", "1", "--epochs", "1")
KILLS = int(os.environ.get("DROPLAB_KILLS", "3"))
SEED = int(os.environ.get("DROPLAB_KILLS_SEED", "0"))


def test_the_table_and_the_words(command):
    done = command("run", "digits", "--seeds", "2", "--epochs", "1", "--out", "run")
    for text in ("Handwritten digits", "calibration", "none", "input", "droplab report"):
        assert text in done.stdout
    assert "too few" in done.stdout  # two seeds cannot give a 5 % verdict, and it says so


def test_quiet_and_log_every(command):
    done = command("run", "digits", "--seeds", "1", "--epochs", "2", "--log-every", "5", "--quiet")
    assert "arm none, seed 0, step      5: mean loss" in done.stdout
    assert "Handwritten digits" not in done.stdout


def test_set_changes_the_recipe(command, tmp_path):
    command("run", "digits", *SMALLEST, "--set", "optimizer.lr=0.01", "--out", "run", "--quiet")
    assert results.load(tmp_path / "run").recipe.optimizer.arguments["lr"] == 0.01


def test_a_model_of_ones_own_and_json_which_is_one_document_and_nothing_else(droplab, tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, width):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())\n"
        "        self.head = nn.Linear(width, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.body(x))\n"
    )
    (tmp_path / "mine.toml").write_text(
        'epochs = 2\nbatch_size = 20\nseeds = [0, 1]\n[data]\nname = "digits"\ntrain = 200\n'
        'validation = 300\n[model]\npath = "nets:Net"\nwidth = 32\n[optimizer]\nname = "SGD"\n'
        'lr = 0.1\n[[arms]]\nname = "none"\n[[arms]]\nname = "half"\nrates = { head = 0.5 }\n'
    )
    done = droplab("run", "mine.toml", "--json", "--out", "run")
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert document["plan"]["captured"] is False  # the user's own forward may have Python state
    assert document["verdict"]["headline"]
    rows = [(row["arm"], row["seed"], row["epoch"], row["val_loss"]) for row in document["rows"]]
    assert len(rows) == 2 * 2 * 2
    stored = results.load(tmp_path / "run").rows
    assert rows == [(row.arm, row.seed, row.epoch, row.val_loss) for row in stored]


def test_bad_input_is_one_error_and_exit_2(droplab):
    done = droplab("run", "digit", check=False)
    assert done.returncode == 2
    assert "did you mean 'digits'" in done.stderr
    assert done.stdout == ""


def test_a_corrupt_run_folder(command, tmp_path):
    command("run", "digits", *SMALLEST, "--quiet", "--out", "run")
    (tmp_path / "run" / "run.sqlite").write_bytes(b"not a database at all" * 1000)
    done = command("run", "digits", *SMALLEST, "--resume", "--out", "run", check=False)
    assert done.returncode == 2
    assert "run.sqlite" in done.stderr
    done = command("report", "run", check=False)
    assert done.returncode == 2
    assert "run.sqlite" in done.stderr


def test_require_target(command, tmp_path):
    target = ("--set", 'target={val_accuracy=">= 0.999"}', "--require-target", "--quiet")
    assert command("run", "digits", *SMALLEST, *target, check=False).returncode == 1
    easy = ("--set", 'target={val_accuracy=">= 0.01"}', "--require-target", "--quiet")
    assert command("run", "digits", *SMALLEST, *easy).returncode == 0


def wait_for_rows(folder, count, lives):
    """Wait until a run has so many rows, reading its file as anybody may; False if it ended."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if not lives():
            return False
        try:
            with sqlite3.connect(f"file:{folder}/run.sqlite?mode=ro", uri=True) as sql:
                if sql.execute("SELECT count(*) FROM epochs").fetchone()[0] >= count:
                    return True
        except sqlite3.Error:
            pass
        time.sleep(0.02)  # nothing tells of a row; a test of 120 s at most looks often
    raise AssertionError("no rows came")


def content(folder):
    return [dataclasses.replace(row, seconds=0.0) for row in results.load(folder).rows]


EPOCHS = 24
LONG = ("digits", "--seeds", "2", "--epochs", str(EPOCHS), "--quiet")
RECIPE = override(load("digits"), {"seeds": [0, 1], "epochs": EPOCHS})
PLAN = ExecutionPlan(1)


@pytest.fixture
def _plan(keep_plan):
    keep_plan(RECIPE, PLAN)


@pytest.mark.usefixtures("_plan")
def test_ctrl_c_ends_cleanly_and_says_how_to_resume(command, start_droplab, tmp_path):
    process = start_droplab("run", *LONG, "--out", "run")
    assert wait_for_rows(tmp_path / "run", 5, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    kept = content(tmp_path / "run")
    assert 5 <= len(kept) < 4 * 2 * EPOCHS
    command("run", *LONG, "--out", "run", "--resume")
    rows = content(tmp_path / "run")
    assert set(kept) <= set(rows)
    assert len(rows) == 4 * 2 * EPOCHS


@needs_forks
@pytest.mark.usefixtures("_plan")
def test_kill_9_at_any_moment_and_resume_to_the_same_bits(command, tmp_path, monkeypatch):
    """Killed again and again at random moments, the run still ends with the rows of a whole one.

    `DROPLAB_KILLS` says how often, and `DROPLAB_KILLS_SEED` which moments.
    """
    monkeypatch.chdir(tmp_path)
    rng = random.Random(SEED)
    seen = []
    folder = tmp_path / "run"
    for kill in range(KILLS):
        resume = ("--resume",) if (folder / "run.sqlite").exists() else ()
        process = fork(main, ["run", *LONG, "--out", "run", *resume])
        if not wait_for_rows(folder, len(seen) + 1, process.is_alive):
            break
        time.sleep(rng.uniform(0, 0.2))  # the moment is the point: it may be any within an epoch
        process.kill()
        process.join()
        rows = content(folder)
        assert set(seen) <= set(rows), f"kill {kill} lost or changed a row"
        places = {(row.arm, row.seed, row.epoch) for row in rows}
        assert len(places) == len(rows)
        blocks = results.load(folder).blocks  # of the same transaction
        assert places == {(block.arm, block.seed, block.epoch) for block in blocks}
        seen = rows
    assert kill >= 2, "the run ended before it was killed twice; make it longer"
    command("run", *LONG, "--out", "run", "--resume")
    rows = content(folder)
    assert set(seen) <= set(rows)
    assert len(rows) == 4 * 2 * EPOCHS
    whole = run(RECIPE, tmp_path / "whole", plan=PLAN)
    assert rows == content(whole.path)
    again = results.load(folder)
    assert (again.blocks, again.stopped_tests) == (whole.blocks, whole.stopped_tests)
    for one, other in zip(again.examples, whole.examples, strict=True):
        assert one.values.tolist() == other.values.tolist()
    for path in (whole.path / "weights").iterdir():
        assert path.read_bytes() == (folder / "weights" / path.name).read_bytes(), path.name
