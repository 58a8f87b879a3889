"""Execution plans: measured, stored, applied, given back."""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.train import ExecutionPlan, timing
from droplab.train._denormals import flushes_denormals
from droplab.train.timing import Candidate, fastest, plan_variants, time_turns


def test_settings_are_given_back_even_after_an_error():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    def fail():
        with ExecutionPlan(2, "medium").active():
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "medium")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


class Machine:
    """A clock that steps move on: what each costs is known, whatever this machine does."""

    def __init__(self, cost):
        self.now = 0.0
        self.cost = cost

    def perf_counter(self):
        return self.now

    def make_step(self, plan):
        def step():
            self.now += self.cost(plan, self.now)

        return step


def chosen(monkeypatch, cost):
    machine = Machine(cost)
    monkeypatch.setattr(timing, "perf_counter", machine.perf_counter)
    monkeypatch.setattr(timing, "process_time", machine.perf_counter)
    monkeypatch.setattr(timing, "thread_time", machine.perf_counter)
    monkeypatch.setattr(timing, "medium_is_accurate", lambda: True)
    plans = plan_variants(captured=True, threads=(1, 2))
    costs = time_turns([Candidate(p, machine.make_step(p)) for p in plans], seconds=0.6)
    assert machine.now < 1.0
    return plans[fastest(costs)], min(costs)


def test_the_clearly_faster_plan_is_chosen(monkeypatch):
    plan, _ = chosen(monkeypatch, lambda plan, now: 1e-3 if plan.matmul == "medium" else 5e-3)
    assert plan == ExecutionPlan(1, "medium", True)


def test_replicas_share_the_seconds_of_their_step(monkeypatch):
    machine = Machine(lambda plan, now: 4e-3)
    monkeypatch.setattr(timing, "perf_counter", machine.perf_counter)
    monkeypatch.setattr(timing, "process_time", machine.perf_counter)
    monkeypatch.setattr(timing, "thread_time", machine.perf_counter)
    plan = ExecutionPlan(1, group=8)
    costs = time_turns([Candidate(plan, machine.make_step(plan), 8)], seconds=0.1)
    assert costs == [pytest.approx(0.5e-3)]


def test_what_other_processes_take_does_not_count(monkeypatch):
    """A processor that is shared with four others: the clock goes five times as fast."""
    machine = Machine(lambda plan, now: 5e-3)
    monkeypatch.setattr(timing, "perf_counter", machine.perf_counter)
    monkeypatch.setattr(timing, "process_time", lambda: machine.now / 5)
    monkeypatch.setattr(timing, "thread_time", lambda: machine.now / 5)
    plans = [ExecutionPlan(1), ExecutionPlan(1, device="cuda")]
    monkeypatch.setattr(timing, "wait_for", lambda device: None)
    costs = time_turns([Candidate(p, machine.make_step(p)) for p in plans], seconds=0.1)
    assert costs == [pytest.approx(1e-3), pytest.approx(5e-3)]


def test_what_is_far_slower_has_few_turns(monkeypatch):
    calls = {1: 0, 2: 0}

    def cost(plan, now):
        calls[plan.threads] += 1
        return 1e-3 * plan.threads**2

    chosen(monkeypatch, cost)
    assert calls[2] < 50 < calls[1]


def test_slow_steps_are_not_taken_more_often_than_once_a_turn(monkeypatch):
    machine = Machine(lambda plan, now: 3.0)
    monkeypatch.setattr(timing, "perf_counter", machine.perf_counter)
    monkeypatch.setattr(timing, "process_time", machine.perf_counter)
    monkeypatch.setattr(timing, "thread_time", machine.perf_counter)
    plan = ExecutionPlan(1)
    assert time_turns([Candidate(plan, machine.make_step(plan))], seconds=0.1) == [3.0]
    assert machine.now == 6.0  # one that wakes the threads, one that is timed


def test_a_slow_phase_of_the_machine_does_not_decide(monkeypatch):
    """Measured one after another, the first plan alone would have been in it."""

    def cost(plan, now):
        return 1e-3 * (2.0 if now < 0.2 else 1.0)

    plan, seconds = chosen(monkeypatch, cost)
    assert plan == ExecutionPlan(1, "highest", True)
    assert seconds == pytest.approx(1e-3)


def test_threads_that_stall_now_and_then_are_not_chosen_for_their_best_moments(monkeypatch):
    def cost(plan, now):
        if plan.threads == 1:
            return 1e-3
        return 0.6e-3 if int(now * 1000) % 10 else 6e-3

    assert chosen(monkeypatch, cost)[0].threads == 1


def test_threads_that_are_faster_throughout_are_chosen(monkeypatch):
    plan, seconds = chosen(monkeypatch, lambda plan, now: 1e-3 / plan.threads)
    assert plan == ExecutionPlan(2, "highest", True)
    assert seconds == pytest.approx(0.5e-3)


def test_a_plan_survives_json_and_newer_fields():
    plan = ExecutionPlan(2, "medium", True)
    assert ExecutionPlan.from_dict({**plan.to_dict(), "later": 1}) == plan


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"threads": 1, "matmul": "low"}])
def test_bad_plans(arguments):
    with pytest.raises(ArgumentError, match="ExecutionPlan"):
        ExecutionPlan(**arguments)


def test_denormal_numbers_are_zero_while_a_plan_is_active():
    tiny = torch.full((1,), 1e-40)
    assert (tiny * 1.0).item() > 0
    with ExecutionPlan(1).active():
        assert flushes_denormals()
        assert not (tiny * 1.0).any()
        with ExecutionPlan(1).active():
            pass
        assert flushes_denormals()
    assert not flushes_denormals()
    assert (tiny * 1.0).item() > 0


def test_the_plan_of_an_old_run_scores_as_it_did():
    plan = ExecutionPlan.from_dict({"threads": 1, "matmul": "highest", "captured": True})
    assert (plan.score_batch, plan.score_train, plan.channels_last) == (2000, 0, False)
    assert not plan.score_threads


@pytest.mark.parametrize("wrong", [{"score_batch": 0}, {"score_train": -1}, {"score_threads": -1}])
def test_impossible_scoring_is_refused(wrong):
    with pytest.raises(ArgumentError, match="score_batch of at least 1"):
        ExecutionPlan(1, **wrong)


@pytest.fixture
def own_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.usefixtures("own_threads")
def test_denormals_are_zero_in_every_thread_of_torch(threads):
    """A thread that keeps them is a hundred times as slow, and has other numbers than the rest."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    numbers = torch.full((threads << 20,), 1e-39)
    halves = numbers * 0.5
    assert (halves != 0).all()
    with ExecutionPlan(threads).active():
        assert flushes_denormals(threads)
        assert (numbers * 0.5 == 0).all()
    assert (numbers * 0.5 == halves).all()


@pytest.mark.usefixtures("own_threads")
def test_denormals_are_zero_in_the_threads_that_score_alone():
    plan = ExecutionPlan(1, score_threads=2)
    with plan.active(), plan.scoring():
        assert torch.get_num_threads() == 2
        assert flushes_denormals(2)
