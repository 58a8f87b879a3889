"""Groups of replicas in worker processes: the bits of the driver alone, whatever happens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from droplab import results
from droplab.errors import RunError
from droplab.recipe import load, loads, override
from droplab.studies import Observer, run
from droplab.studies._grouping import stored_groups
from droplab.studies._session import Session
from droplab.train import ExecutionPlan
from tests.unit.studies.people import Stop

DRIVER = ExecutionPlan(1, group=4)
WORKERS = dataclasses.replace(DRIVER, workers=2)
"""Of eager steps, since each worker records its own, which takes longer than all else here."""

NETS = """
from multiprocessing import parent_process
from types import SimpleNamespace
import droplab.studies._work
from droplab.models import MLP as Net

real = droplab.studies._work.fit
module = droplab.studies._work if parent_process() else SimpleNamespace()
"""

TOO_LARGE = """
def fit(executor, *args, **kwargs):
    for epoch in real(executor, *args, **kwargs):
        if epoch.epoch == 2 and executor.members >= 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        yield epoch

module.fit = fit
"""

NAN = """
def fit(executor, *args, **kwargs):
    for epoch in real(executor, *args, **kwargs):
        yield epoch
        if epoch.epoch == 1:
            executor.tensors()["fc2.weight"][1, 0, 0] = float("nan")

module.fit = fit
"""

BROKEN = """
def fit(*args, **kwargs):
    raise OSError("gone bad")

module.fit = fit
"""

RECIPE = """
name = "own"
epochs = 3
batch_size = 20
seeds = [0, 1]
[data]
name = "digits"
train = 100
validation = 100
[model]
path = "own_nets:Net"
arguments = { in_features = 64, hidden = [16, 8] }
[optimizer]
name = "Adam"
lr = 0.01
[[arms]]
name = "none"
[[arms]]
name = "0.2"
rates = { fc2 = 0.2 }
[[arms]]
name = "0.5"
rates = { fc2 = 0.5 }
[[arms]]
name = "0.8"
rates = { fc2 = 0.8 }
"""


def tiny(**changes):
    return override(load("digits"), {"epochs": 3, "seeds": [0, 1, 2], **changes})


def own(text):
    """A recipe whose model's file does something to the worker that imports it."""
    Path("own_nets.py").write_text(NETS + text)
    return loads(RECIPE)


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run in groups of four, by the driver alone."""
    return run(tiny(), tmp_path_factory.mktemp("whole") / "run", plan=DRIVER)


def test_rows_weights_and_tests_are_those_of_the_driver_alone(whole):
    steps = []

    class Counting(Observer):
        def steps_done(self, members, done):
            steps.append(len(members) * done)

    plan = dataclasses.replace(WORKERS, captured=True)  # with the bits of the eager one
    result = run(tiny(), "workers", plan=plan, observer=Counting())
    assert content(result) == content(whole)
    assert result.tests == whole.tests
    for folder in ("weights", "checkpoints"):
        one, two = whole.path / folder, result.path / folder
        assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for path in (whole.path / "weights").iterdir():
        assert path.read_bytes() == (result.path / "weights" / path.name).read_bytes()
    assert sum(steps) == 12 * 3 * 10  # members, epochs, batches


@pytest.mark.parametrize("rows", [1, 14])
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, rows):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), "workers", plan=WORKERS, observer=Stop(rows))
    assert 0 < len(results.load(Path("workers")).rows) < len(whole.rows)
    assert content(run(tiny(), "workers", resume=True)) == content(whole)


class Killer(Observer):
    """Kills all workers at the first rows, some times."""

    def __init__(self, times, sessions):
        self.times, self.sessions = times, sessions

    def epoch_done(self, row):
        if self.times:
            self.times -= 1
            for worker in self.sessions[-1]._pool.running:
                worker.process.kill()


@pytest.fixture
def sessions(monkeypatch):
    found = []
    real = Session.train_all

    def train_all(self):
        found.append(self)
        return real(self)

    monkeypatch.setattr(Session, "train_all", train_all)
    return found


def test_a_killed_worker_is_begun_again_from_its_checkpoint(whole, sessions):
    result = run(tiny(), "workers", plan=WORKERS, observer=Killer(1, sessions))
    assert content(result) == content(whole)


def test_workers_that_die_again_and_again(sessions):
    with pytest.raises(RunError, match=r"4 replicas from arm 'none', seed \d on died 2 times"):
        run(tiny(epochs=100), "workers", plan=WORKERS, observer=Killer(10**6, sessions))


def test_a_nan_stops_one_replica_and_the_others_go_on():
    result = run(own(NAN), "workers", plan=WORKERS)
    lost = {(m.arm, m.seed) for m in result.members if m.state == "nan"}
    assert lost == {("0.2", 0), ("0.2", 1)}
    assert {m.state for m in result.members} == {"nan", "done"}
    assert all(m.epochs_done == (1 if m.state == "nan" else 3) for m in result.members)


def test_too_little_memory_in_a_worker_halves_its_group():
    halved = []

    class Watching(Observer):
        def group_halved(self, before, after):
            halved.append((before, after))

    result = run(own(TOO_LARGE), "workers", plan=WORKERS, observer=Watching())
    assert halved == [(4, 2), (4, 2)]
    assert [len(group.members) for group in stored_groups(result.plan)] == [2, 2, 2, 2]
    assert len(result.rows) == 8 * 3


def test_a_worker_that_fails_says_why_in_a_line():
    with pytest.raises(RunError, match=r"failed in their worker \(OSError: gone bad\)") as caught:
        run(own(BROKEN), "workers", plan=WORKERS)
    assert "Traceback" not in str(caught.value)
    members = results.load(Path("workers")).members
    assert any("Traceback" in member.message for member in members)
