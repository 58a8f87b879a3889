"""Workers when things go wrong, and which factories of `droplab.sweep` reach them."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

import droplab
from droplab import results
from droplab.errors import RunError
from droplab.recipe import ModelSpec, loads
from droplab.studies import Observer, _costs, run
from droplab.train import ExecutionPlan

ALONE = ExecutionPlan(1)
WORKERS = ExecutionPlan(1, workers=2)

NETS = """
import torch
from torch import nn
from droplab.rng import stream_key


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.lstm(x.reshape(len(x), -1, 4))[0][:, -1])


class Sick(Reader):
    '''With the weights of a sick seed, it returns NaN from its seventh training step on.'''

    def __init__(self, seeds=(1,)):
        super().__init__()
        self.sick = any(torch.initial_seed() == stream_key(seed, "init") for seed in seeds)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return super().forward(x) * (float("nan") if self.sick and self.steps >= 7 else 1.0)
"""

RECIPE = """
name = "sick"
epochs = 3
batch_size = 20
seeds = [0, 1]
data = { name = "digits", train = 100, validation = 100 }
model = { path = "sick_nets:Sick" }
optimizer = { name = "Adam", lr = 0.01 }
arms = [{ name = "none" }, { name = "half", rates = { head = 0.5 } }]
"""


@pytest.fixture
def nets(monkeypatch):
    """A module with networks that vmap refuses, which workers can import."""
    Path("sick_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(importlib.sys.modules, "sick_nets", raising=False)
    return importlib.import_module("sick_nets")


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


class Watching(Observer):
    def __init__(self):
        self.seen = []

    def diverged(self, arm, seed, message):
        self.seen.append((arm, seed))


@pytest.mark.usefixtures("nets")
def test_a_nan_in_a_worker_stops_that_replica_and_the_others_go_on():
    recipe, watching = loads(RECIPE), Watching()
    result = run(recipe, "workers", plan=WORKERS, observer=watching)
    states = {(member.arm, member.seed): member for member in result.members}
    assert {name for name, member in states.items() if member.state == "done"} == {
        ("none", 0),
        ("half", 0),
    }
    for arm in ("none", "half"):
        assert states[arm, 1].state == "nan"
        assert "nan at epoch 2, step 2" in states[arm, 1].message
        assert states[arm, 1].epochs_done == 1
    assert sorted(watching.seen) == [("half", 1), ("none", 1)]
    sound = run(dataclasses.replace(recipe, seeds=(0,)), "alone", plan=ALONE)
    assert [row for row in content(result) if row.seed == 0] == content(sound)
    assert [row.epoch for row in result.rows if row.seed == 1] == [1, 1]
    weights = {path.name for path in (result.path / "weights").glob("*seed1-last*")}
    assert not weights
    assert content(run(recipe, "workers", resume=True)) == content(result)


@pytest.mark.usefixtures("nets")
def test_workers_without_a_sound_replica_are_an_error():
    model = ModelSpec("sick_nets:Sick", {"seeds": [0, 1]})
    recipe = dataclasses.replace(loads(RECIPE), model=model)
    with pytest.raises(RunError, match=r"no replica could be trained; arm 'none', seed 0: .*nan"):
        run(recipe, "workers", plan=WORKERS)
    assert {member.state for member in results.load("workers").members} == {"nan"}


def examples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 12, generator=generator), torch.arange(count) % 3


def sweep(factory, **options):
    return droplab.sweep(
        factory,
        examples(60, 0),
        examples(30, 1),
        **{"rates": [0.5], "sites": ["head"], "seeds": 2, "epochs": 2, "batch_size": 20, **options},
    )


@pytest.fixture
def two_cores(monkeypatch, thorough):
    """Two cores, on which workers begin in no time."""
    monkeypatch.setattr(_costs, "usable_threads", lambda: 2)
    monkeypatch.setattr(_costs, "_START_SECONDS", 0.0)
    monkeypatch.setattr(_costs, "_TASK_SECONDS", 0.0)


@pytest.mark.usefixtures("two_cores")
def test_a_factory_that_can_be_imported_reaches_the_workers(nets):
    found = sweep(nets.Reader, out="workers")
    assert (found.run.plan["workers"], found.run.plan["group"]) == (2, 1)
    assert "vmap refuses the model" in found.run.plan["reason"]
    assert "one by one" not in found.run.plan["reason"]
    plan = ExecutionPlan.from_dict(found.run.plan)  # its matmul path was measured
    alone = sweep(nets.Reader, out="alone", execution=dataclasses.replace(plan, workers=0))
    assert content(found.run) == content(alone.run)
    assert type(found.model) is nets.Reader


class Local(nn.Module):
    """Of this test's own module, which other processes know by another name or not at all."""

    def __init__(self, width=8):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, width, batch_first=True), nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.lstm(x.view(-1, 3, 4))[0][:, -1])


def closure(width):
    def factory():
        return Local(width)

    return factory


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("factory", [lambda: Local(6), closure(6)], ids=["lambda", "closure"])
def test_a_factory_that_cannot_be_sent_trains_in_the_driver_and_says_so(factory):
    found = sweep(factory, out="run")
    assert len(found.run.rows) == 2 * 2 * 2
    assert (found.run.plan["workers"], found.run.plan["group"]) == (0, 1)
    reason = found.run.plan["reason"]
    assert "vmap refuses the model" in reason
    assert "the factory of model or optimizer cannot be sent to worker processes" in reason
    assert "one by one" in reason


@pytest.mark.usefixtures("two_cores", "nets")
def test_a_lambda_for_the_optimizer_cannot_be_sent_either(nets):
    found = sweep(nets.Reader, out="run", optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    assert found.run.plan["workers"] == 0
    assert "cannot be sent to worker processes" in found.run.plan["reason"]
