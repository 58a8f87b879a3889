"""A search whose driver is killed anywhere goes on to the same proposals, and ends the same."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from droplab import results
from droplab.recipe import load, override
from droplab.results import SearchRecord
from droplab.searches import Asked, search
from droplab.train import ExecutionPlan

pytest.importorskip("optuna")

KILLS = int(os.environ.get("DROPLAB_KILLS", "3"))
SEED = int(os.environ.get("DROPLAB_KILLS_SEED", "0"))


def find(folder: Path) -> None:
    """Search, or go on with the search that was left there."""
    small = {"data.train": 60, "epochs": 3, "seeds": [0, 1], "batch_size": 30}
    small["model.hidden"] = [16, 16]
    search(
        override(load("digits"), small),
        asked=Asked(trials=4, batch=2, seeds=2, confirm_seeds=1, first_epochs=1),
        plan=ExecutionPlan(2),
        out=folder,
        resume=(folder / results.SEARCH_FILE).exists(),
    )


def record(folder: Path) -> SearchRecord:
    return dataclasses.replace(results.load_search(folder), created="")


def drivers() -> None:
    """Fork a driver of a search for each folder of the input, and say when it is gone.

    This process has one thread and trains nothing, so that what it forks can.
    """
    torch.set_num_threads(1)
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            try:
                find(Path(line.strip()))
            finally:
                os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to begin in no time")
def test_a_driver_killed_anywhere_goes_on_to_the_same_proposals(tmp_path: Path):
    chosen = random.Random(SEED)
    whole, mine = tmp_path / "whole", tmp_path / "mine"
    code = "import optuna, torch._dynamo\n"  # which each fork would else import again
    code += "from tests.unit.searches import test_kills_of_searches as here\n"
    command = [sys.executable, "-c", f"{code}here.drivers()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, cwd=Path(__file__).parents[3]) as forks:
        assert forks.stdin is not None
        assert forks.stdout is not None

        def begin(folder: Path) -> int:
            forks.stdin.write(f"{folder}\n")
            forks.stdin.flush()
            return int(forks.stdout.readline())

        began = time.perf_counter()
        begin(whole)
        assert forks.stdout.readline() == "gone\n"
        took = time.perf_counter() - began
        for _ in range(KILLS):
            child = begin(mine)
            time.sleep(chosen.uniform(0, took / 2))
            with contextlib.suppress(ProcessLookupError):  # it had nothing left to do
                os.kill(child, signal.SIGKILL)
            assert forks.stdout.readline() == "gone\n"
        begin(mine)
        assert forks.stdout.readline() == "gone\n"
        forks.stdin.close()
    assert record(mine) == record(whole)
    assert record(mine).headline
