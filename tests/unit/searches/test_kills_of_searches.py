"""A search whose driver is killed anywhere goes on to the same proposals, and ends the same."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from pathlib import Path

import pytest

from droplab import results
from droplab.recipe import load, override
from droplab.results import SearchRecord
from droplab.searches import Asked, search
from droplab.train import ExecutionPlan
from tests.forks import fork, needs_forks

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
        plan=ExecutionPlan(1),
        out=folder,
        resume=(folder / results.SEARCH_FILE).exists(),
    )


def record(folder: Path) -> SearchRecord:
    return dataclasses.replace(results.load_search(folder), created="")


@needs_forks
def test_a_driver_killed_anywhere_goes_on_to_the_same_proposals(tmp_path: Path):
    chosen = random.Random(SEED)
    whole, mine = tmp_path / "whole", tmp_path / "mine"
    began = time.perf_counter()
    find(whole)
    took = time.perf_counter() - began
    for _ in range(KILLS):
        driver = fork(find, mine)
        driver.join(chosen.uniform(0, took / 2))
        driver.kill()
        driver.join()
    fork(find, mine).join()
    assert record(mine) == record(whole)
    assert record(mine).headline
