"""Where replicas are trained: the choice, and that everything of theirs is there.

The meta device stands in for a GPU: it computes shapes only, and refuses to be mixed with the CPU.
"""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.recipe import load, override
from droplab.studies import _costs as costs
from droplab.studies import _planner as planner
from droplab.studies import _planning as planning
from droplab.studies import _room as room
from droplab.studies import choose_plan, resolve, run
from droplab.train import ExecutionPlan, Single, choose_device
from droplab.train._population_step import population_gradients
from droplab.train.timing import Candidate, plan_variants, time_turns


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has a CUDA device, and clocks that do not wait for it."""
    monkeypatch.setattr("droplab.train._execution.cuda_is_there", lambda: True)
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    return waited


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("droplab.train._execution.cuda_is_there", lambda: False)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_taken_unless_the_user_wants_the_cpu():
    assert choose_device(None) == "cuda"
    assert choose_device("cpu") == "cpu"
    assert choose_device("cuda:1") == "cuda:1"


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_it_is_the_cpu_and_a_wish_for_one_is_an_error():
    assert choose_device(None) == choose_device("cpu") == "cpu"
    with pytest.raises(ArgumentError, match="torch finds no CUDA device; leave it out or take"):
        choose_device("cuda")


@pytest.mark.parametrize("device", ["gpu", "mps", "", "cudax"])
def test_what_is_no_device(device):
    with pytest.raises(ArgumentError, match="expected 'cpu' or 'cuda', got"):
        choose_device(device)


def test_plans_of_a_gpu_have_one_thread_and_plain_products(gpu):
    plans = plan_variants(captured=True, device="cuda")
    assert plans == [ExecutionPlan(1, "highest", True, device="cuda")]
    time_turns([Candidate(plans[0], lambda: None)], seconds=0.01)
    assert gpu[:2] == ["cuda", "cuda"]  # before the clock starts and before it is read


def tiny(**changes):
    return override(load("digits"), {"epochs": 2, "seeds": [0, 1], **changes})


@pytest.fixture
def clock(monkeypatch):
    """Steps of a second, 0.1 s for a replica of a group; returns the devices that were asked."""
    asked = []

    class Trial:
        def __init__(self, experiment, arms, plan):
            asked.append(plan.device)
            self.members, self.step = plan.group, lambda: None
            self.score_some = lambda split, order, size: None

    def time_turns(candidates, *, seconds, rounds=1):
        asked.extend(each.plan.device for each in candidates)
        return [1.0 if each.plan.group == 1 else 0.1 for each in candidates]

    monkeypatch.setattr(planner, "TimedReplicas", Trial)
    monkeypatch.setattr(planner, "time_turns", time_turns)
    monkeypatch.setattr(room, "available_bytes", lambda at: asked.append(at.type) or 1 << 40)
    monkeypatch.setattr(planner, "compiler", lambda: None)
    return asked


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("device", [None, "cuda", "cpu"])
def test_the_plan_measures_and_names_the_device(monkeypatch, clock, device):
    monkeypatch.setattr(costs, "usable_threads", lambda: 1)
    where = device or "cuda"
    plan = choose_plan(resolve(tiny(epochs=6)), device=device)
    assert (plan.device, plan.group, plan.workers) == (where, 8, 0)
    assert set(clock) == {where}


@pytest.mark.usefixtures("gpu", "clock")
def test_a_gpu_is_not_shared_among_workers(monkeypatch):
    monkeypatch.setattr(planning, "why_alone", lambda *_: "it cannot be batched")
    monkeypatch.setattr(costs, "usable_threads", lambda: 4)
    assert choose_plan(resolve(tiny(epochs=6))).workers == 0
    assert choose_plan(resolve(tiny(epochs=6)), device="cpu").workers == 4


def test_a_run_may_ask_for_the_cpu_and_remembers_it(tmp_path):
    result = run(tiny(), tmp_path / "run", device="cpu")
    assert result.plan["device"] == "cpu"
    assert ExecutionPlan.from_dict(result.plan).device == "cpu"
    del result.plan["device"]  # as of a run before there was a choice
    assert ExecutionPlan.from_dict(result.plan).device == "cpu"


@pytest.mark.usefixtures("no_gpu")
def test_a_device_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ArgumentError, match="torch finds no CUDA device"):
        run(tiny(), tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ArgumentError, match="torch finds no CUDA device"):
        run(tiny(), tmp_path / "run", plan=ExecutionPlan(1, device="cuda"))


def test_all_of_a_population_is_on_its_device():
    experiment = resolve(tiny())
    members = experiment.population(experiment.recipe.arms, (0, 1), "meta")
    assert {tensor.device.type for tensor in members.tensors()} == {"meta"}
    inputs, targets = next(experiment.splits.train.batches(torch.arange(6), 6))
    batch = torch.stack([inputs] * 2).to("meta"), torch.stack([targets] * 2).to("meta")
    members.template.train()
    members.set_step(0)
    logits, gradients = population_gradients(members, *batch)
    assert (logits.device.type, logits.shape) == ("meta", (2, 4, 6, 10))
    assert {gradient.device.type for gradient in gradients} == {"meta"}


def test_a_replica_and_its_batches_are_on_their_device():
    experiment = resolve(tiny(**{"optimizer.fused": False}))  # which the meta device has not
    replica = experiment.replica(experiment.recipe.arms[1], 0, "meta")
    plan = ExecutionPlan(1)
    object.__setattr__(plan, "device", "meta")  # which no run may have
    executor = Single(replica.model, replica.optimizer, replica.applied, plan)
    executor.model.train()
    batch = next(executor.source(experiment.splits.train).batches([torch.arange(6)], 6))
    assert executor.step(*batch).device.type == "meta"
    assert {p.device.type for p in replica.model.parameters()} == {"meta"}
