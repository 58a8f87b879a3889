"""Models that vmap refuses, in worker processes: an LSTM proves the fallback."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
from pathlib import Path

import psutil
import pytest

from droplab import results
from droplab.data import StreamedSplit
from droplab.errors import RunError
from droplab.recipe import loads
from droplab.studies import Observer, resolve, run
from droplab.studies._planning import why_alone
from droplab.studies._session import Session
from droplab.studies._worker import can_send
from droplab.studies._worker_pool import WorkerPool
from droplab.train import ExecutionPlan
from tests.forks import fork, needs_forks
from tests.unit.studies.people import Stop

ALONE = ExecutionPlan(1)
WORKERS = ExecutionPlan(1, workers=2)

NETS = """
from torch import nn

class Reader(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.lstm = nn.LSTM(8, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.lstm(x.view(-1, 8, 8))[0][:, -1])
"""

RECIPE = """
name = "reader"
epochs = 3
batch_size = 20
seeds = [0, 1]
clip = 1.0
[data]
name = "digits"
train = 100
validation = 100
[model]
path = "reader_nets:Reader"
[optimizer]
name = "Adam"
lr = 0.01
[scheduler]
name = "StepLR"
step_size = 1
[[arms]]
name = "none"
[[arms]]
name = "half"
rates = { head = 0.5 }
"""


@pytest.fixture
def recipe():
    Path("reader_nets.py").write_text(NETS)
    return loads(RECIPE)


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


def test_why_an_lstm_is_not_trained_together(recipe):
    assert "lstm" in why_alone(resolve(recipe), recipe.arms)


def test_rows_weights_and_tests_are_those_of_the_driver_alone(recipe):
    one = run(recipe, "alone", plan=ALONE)
    two = run(recipe, "workers", plan=WORKERS)
    assert content(two) == content(one)
    assert two.tests == one.tests
    for path in (one.path / "weights").iterdir():
        assert path.read_bytes() == (two.path / "weights" / path.name).read_bytes(), path.name
    names = {path.name for path in (two.path / "checkpoints").iterdir()}
    assert names == {path.name for path in (one.path / "checkpoints").iterdir()}


def test_an_interrupted_run_goes_on_to_the_same_bits(recipe):
    whole = run(recipe, "alone", plan=ALONE)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, "workers", plan=WORKERS, observer=Stop())
    assert len(results.load(Path("workers")).rows) == 1
    assert content(run(recipe, "workers", resume=True)) == content(whole)


class Killer(Observer):
    """Kills the worker whose row came, some times, at this epoch or any."""

    def __init__(self, times, epoch=1):
        self.times, self.epoch = times, epoch

    def epoch_done(self, row):
        if self.times and row.epoch in (self.epoch, row.epoch if self.epoch is None else -1):
            self.times -= 1
            for session in Killer.sessions:
                for worker in getattr(session._pool, "running", ()):
                    if worker.task.group.members == ((row.arm, row.seed),):
                        worker.process.kill()


@pytest.fixture
def sessions(monkeypatch):
    Killer.sessions = []
    real = Session.train_all

    def train_all(self):
        Killer.sessions.append(self)
        return real(self)

    monkeypatch.setattr(Session, "train_all", train_all)


def test_a_killed_worker_is_begun_again_from_its_checkpoint(recipe, sessions):
    recipe = dataclasses.replace(recipe, epochs=40, seeds=(0,), arms=recipe.arms[:1])
    whole = run(recipe, "alone", plan=ALONE)
    assert content(run(recipe, "workers", plan=WORKERS, observer=Killer(1))) == content(whole)


def test_a_worker_that_fails_says_why(recipe):
    """Its model cannot be built in the worker: the file has gone bad meanwhile."""
    experiment = resolve(recipe)
    Path("reader_nets.py").write_text("raise OSError('gone bad')")
    with pytest.raises(RunError, match=r"seed \d failed in its worker \(.*gone bad") as caught:
        run(experiment, "workers", plan=WORKERS)
    assert "Traceback" not in str(caught.value)
    assert any("Traceback" in member.message for member in results.load("workers").members)


def test_a_worker_that_dies_again_and_again(recipe, sessions):
    recipe = dataclasses.replace(recipe, epochs=1000)
    with pytest.raises(RunError, match="died 2 times"):
        run(recipe, "workers", plan=WORKERS, observer=Killer(8, epoch=None))


def test_what_another_process_cannot_get_stays_with_the_driver(recipe):
    experiment = resolve(recipe)
    assert can_send(experiment)
    assert not can_send(dataclasses.replace(experiment, build=lambda: None))
    streamed = StreamedSplit([], None)
    splits = dataclasses.replace(experiment.splits, train=streamed)
    assert not can_send(dataclasses.replace(experiment, splits=splits))


def what_is_loaded(connection, folder):
    """Tell what this process has loaded before its task."""
    kernels = sys.modules["droplab.ops._cpu"]._dropout_address.cache_info().currsize
    connection.send(("torch._dynamo" in sys.modules, kernels))
    connection.close()


def test_a_worker_finds_loaded_what_its_first_step_would_wait_for(tmp_path):
    told = []

    def take(task, event):
        told.append(event)
        return True

    nothing = dict.fromkeys(("arguments", "needs", "lost"), lambda *_: ())
    WorkerPool(what_is_loaded, tmp_path, 2).run([1, 2, 3], take=take, **nothing)
    assert told == [(True, 1)] * 3


class Told(Observer):
    """Tells of each row."""

    def __init__(self, teller):
        self._teller = teller

    def epoch_done(self, row):
        self._teller.send("row")


def drive(teller):
    recipe = dataclasses.replace(loads(RECIPE), epochs=10000)
    run(recipe, "killed", plan=WORKERS, observer=Told(teller))


@needs_forks
def test_workers_end_when_their_driver_is_killed(recipe):
    told, teller = multiprocessing.Pipe(duplex=False)
    driver = fork(drive, teller)
    teller.close()
    try:
        assert told.recv() == "row"
        children = psutil.Process(driver.pid).children(recursive=True)
        assert len(children) >= 3  # the fork server, and two workers
    finally:
        driver.kill()
        driver.join()
        told.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
