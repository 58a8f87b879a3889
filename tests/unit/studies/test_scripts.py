"""What a script in a trial's process tells, and when it ends with its driver."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from droplab.errors import RunError
from droplab.ops import set_rank
from droplab.recipe import dumps
from droplab.studies import FreeTrial, Trial, _script, study, trial
from tests.unit.studies import loops
from tests.unit.studies.loops import begin


@pytest.fixture
def asked(tmp_path: Path, monkeypatch):
    """A trial's file in the environment; what is left to be done when the process ends."""
    told = tmp_path / "told"
    about = {"recipe": dumps(begin(tmp_path).recipe), "arm": "half", "seed": 1, "told": str(told)}
    about |= {"keep": str(tmp_path / "kept"), "driver": os.getppid()}
    (tmp_path / "asked").write_text(json.dumps(about))
    monkeypatch.setenv(_script.VARIABLE, str(tmp_path / "asked"))
    left: list = []
    monkeypatch.setattr(atexit, "register", left.append)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield left
    set_rank(None)


def told(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def test_the_variable_is_taken_out_of_the_environment(asked, tmp_path: Path):
    mine = trial()
    assert isinstance(mine, Trial)
    assert _script.VARIABLE not in os.environ
    assert isinstance(trial(), FreeTrial)
    loops.plain(mine)
    asked[0]()
    assert [list(each) for each in told(tmp_path)] == [["row"], ["row"], ["ended", "raised"]]
    assert told(tmp_path)[-1]["ended"]["state"] == "done"


def test_of_processes_that_train_together_the_first_one_reports(asked, tmp_path: Path):
    set_rank(1)
    mine = trial()
    loops.plain(mine)
    asked[0]()
    assert told(tmp_path) == []


SPAWNING = """
import os

import torch.multiprocessing

import droplab


def work(rank):
    os.environ["RANK"] = str(rank)  # as a process group has it
    trial = droplab.trial()
    model = trial.place(torch.nn.Linear(3, 1))
    model(torch.ones(2, 3)).sum().backward()
    trial.report(val_loss=rank)
    print(rank, trial, os.environ.get("DROPLAB_TRIAL"))


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, nprocs=2)
"""


@pytest.mark.slow
def test_in_processes_that_a_script_spawns_rank_0_reports(tmp_path: Path, monkeypatch):
    """What asks has the trial: each of them, where the script itself has not asked."""
    (tmp_path / "spawn.py").write_text(SPAWNING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    how = {"arms": {"none": {}}, "seeds": 1, "metrics": {"val_loss": "lower"}, "quiet": True}
    mine = study(tmp_path / "study", **how)
    mine.run_script([str(tmp_path / "spawn.py")])
    assert [(row.epoch, row.values["val_loss"]) for row in mine.result().rows] == [(1, 0.0)]
    assert [each.state for each in mine.result().members] == ["done"]
    (log,) = (tmp_path / "study" / "logs").iterdir()
    said = [line for line in log.read_text().splitlines() if "Trial" in line]
    assert sorted(said) == [f"{rank} Trial('none', seed 0) None" for rank in (0, 1)]


def test_what_is_no_trial_in_the_environment_is_one_sentence(tmp_path: Path, monkeypatch):
    for text in (None, "{}", "[", '{"recipe": 3}'):
        if text is not None:
            (tmp_path / "it").write_text(text)
        monkeypatch.setenv(_script.VARIABLE, str(tmp_path / "it"))
        with pytest.raises(RunError, match="start the script with droplab study"):
            trial()


def test_it_ends_when_its_driver_or_its_parent_has():
    here, gone = os.getppid(), subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not _script._is_over(here, here)
    assert not _script._is_over(os.getpid(), here)  # a driver further up
    assert _script._is_over(gone.pid, here)
    assert _script._is_over(here, here + 1)


def test_outside_of_a_study_everything_that_a_trial_has_is_there():
    free = trial()
    assert isinstance(free, FreeTrial)
    model = free.place(loops.network())
    free.checkpoint(model)
    assert list(free.batches([1, 2])) == [1, 2]
    names = {name for name in vars(Trial) if not name.startswith("_")} - {"open", "close"}
    assert names <= set(dir(free))
    assert torch.equal(model(torch.ones(2, 6)), model(torch.ones(2, 6)))
