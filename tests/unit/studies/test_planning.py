"""Which plan is chosen, by what steps are said to take: no clock of the machine is asked."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from torch import nn

from droplab.recipe import load, override
from droplab.studies import _costs as costs
from droplab.studies import _planner as planner
from droplab.studies import _planning as planning
from droplab.studies import _room as room
from droplab.studies import resolve
from droplab.studies._grouping import make_groups
from droplab.train import UnsupportedError, timing


class Machine:
    """A machine whose steps take what a table says, and whose clock stands still but for `spend`.

    Attributes:
        plain, recorded, compiled: Seconds of a step of one replica; None for what is not there.
        group: Seconds of a step of a group, for each of its replicas, by its size.
        threads: How many times as fast two threads are.
        measured: Every comparison that was made: the plans that took turns.
        spend: Seconds that each comparison takes.
        scored, scored_together: Seconds in which an example is scored for a replica by itself, and
            how many times as long that takes for one of a group.
    """

    def __init__(self):
        self.plain, self.recorded, self.compiled = 1.0, 0.5, None
        self.group = lambda size: 0.1
        self.threads = 1.0
        self.noise = lambda turn: 1.0
        self.measured = []
        self.now = self.spend = 0.0
        self.setup = 0.0
        self.scored, self.scored_together = 0.0, 1.0
        self.last = False

    def cost(self, plan, replicas):
        if plan.group > 1:
            assert 1 < replicas <= plan.group
            cost = self.group(plan.group)
        elif plan.compiled:
            cost = self.compiled
        else:
            cost = self.recorded if plan.captured else self.plain
        return cost / (self.threads if plan.threads > 1 else 1.0)

    def time_turns(self, candidates, *, seconds, rounds=1):
        self.now += self.spend
        self.last = rounds > 1
        self.measured.append([each.plan for each in candidates])
        slow = self.noise(len(self.measured))
        return [slow * self.cost(each.plan, each.replicas) for each in candidates]


@pytest.fixture
def machine(monkeypatch):
    """Two cores and no compiler, on which any model can be trained together."""
    found = Machine()

    class Trial:
        def __init__(self, experiment, arms, plan):
            self.members = 1
            if plan.group > 1:
                groups = make_groups(arms, experiment.recipe.seeds, plan.group)
                self.members = len(groups[0].members)
            elif plan.compiled and found.compiled is None:
                raise UnsupportedError("an operation is not known")
            if plan.group > 1 or plan.captured:
                found.now += found.setup

        def step(self):
            pass

        def score_some(self, split, order, batch_size):
            together = found.scored_together if self.members > 1 else 1.0
            found.now += found.scored * together * len(order) * self.members

    for module in (planner, timing):
        for name in ("perf_counter", "process_time", "thread_time"):
            monkeypatch.setattr(module, name, lambda: found.now, raising=False)
    monkeypatch.setattr(planner, "TimedReplicas", Trial)
    monkeypatch.setattr(planner, "time_turns", found.time_turns)
    monkeypatch.setattr(costs, "usable_threads", lambda: 2)
    monkeypatch.setattr(planner, "usable_threads", lambda: 2)
    monkeypatch.setattr("droplab.train.timing.usable_threads", lambda: 2)
    monkeypatch.setattr(planner, "compiler", lambda: None)
    monkeypatch.setattr(planning, "why_alone", lambda *_: "")
    return found


chosen = partial(planning.choose_plan, again=True)


def experiment(**changes):
    """16 replicas, 600 steps each."""
    return resolve(override(load("digits"), {"seeds": [0, 1, 2, 3], "epochs": 60, **changes}))


def test_what_trains_in_seconds_is_not_measured(machine):
    """16 x 600 steps of 0.05 ms are 0.5 s, of 0.3 ms 2.9 s, of 0.4 ms 3.8 s."""
    for step, comparisons in ((0.05e-3, 1), (0.3e-3, 2)):
        machine.plain = step
        machine.measured.clear()
        plan = chosen(experiment())
        assert (plan.group, plan.workers, plan.captured, plan.threads) == (1, 0, False, 1)
        assert plan.reason == "training takes seconds, and measuring would as well"
        assert len(machine.measured) == comparisons
    machine.plain = 0.4e-3
    chosen(experiment())
    assert len(machine.measured) > 4


def test_threads_are_compared_where_training_takes_a_second(machine):
    machine.plain, machine.threads = 0.3e-3, 1.5
    plan = chosen(experiment())
    assert plan.threads == 2
    assert [(row.threads, row.workers) for row in plan.tried][:1] == [(2, 0)]
    machine.plain = 0.05e-3
    assert chosen(experiment()).threads == 1


def test_scoring_is_a_part_of_what_a_plan_takes(machine):
    """Steps together take half as long, and scoring 300 examples an epoch together much longer."""
    machine.plain = machine.recorded = 0.01
    machine.group = lambda size: 0.005
    assert chosen(experiment()).group > 1
    machine.scored, machine.scored_together = 1e-4, 10.0
    plan = chosen(experiment())
    assert plan.group == 1
    single, group = (
        next(row for row in plan.tried if (row.group > 1, row.workers) == (together, 0))
        for together in (False, True)
    )
    assert group.step < single.step
    assert group.total > single.total


def test_measuring_ends_with_its_share_of_the_training(machine):
    """96 s of training: 15 % are 14 s. The first group makes 10 s of it, of which 15 % are 1.4 s.

    After the second group they are over, and what there is takes turns once more.
    """
    machine.plain, machine.spend = 1e-2, 0.5
    machine.group = lambda size: 1e-3
    plan = chosen(experiment())
    assert plan.group == 16
    assert [each[-1].group for each in machine.measured] == [1, 16, 8, 8]


def test_a_group_whose_steps_are_too_dear_to_measure_is_not_begun(machine):
    """4 replicas of 20 steps: eight steps of a group of four are 40 % of the training."""
    machine.plain = 1.0
    few = experiment(seeds=[0], epochs=2)
    plan = chosen(few)
    assert plan.group == 1
    assert plan.reason == "training is too short to measure whether groups are faster"
    assert all(each.group == 1 for turns in machine.measured for each in turns)


def test_every_plan_takes_turns_with_the_direct_step_and_then_with_all_others(machine):
    plan = chosen(experiment())
    *earlier, last = machine.measured
    for turns in earlier:
        assert (turns[0].group, turns[0].captured, turns[0].threads) == (1, False, 1)
    assert {each.group for each in last} == {1, 16, 8, 4}
    assert (plan.group, plan.captured, plan.threads) in [
        (each.group, each.captured, each.threads) for each in last
    ]


def test_a_slow_phase_of_the_machine_does_not_make_groups_look_faster(machine):
    """The direct step alone is timed while the machine is five times slower than after."""
    machine.recorded = 1.0
    machine.noise = lambda turn: 5.0 if turn == 1 else 1.0
    machine.group = lambda size: 1.2
    assert chosen(experiment()).group == 1


def test_a_group_must_be_faster_in_the_last_comparison_too(machine):
    machine.recorded = 1.0
    machine.group = lambda size: 1.5 if machine.last else 0.5
    plan = chosen(experiment())
    assert (plan.group, plan.reason[:36]) == (1, "training them together was measured ")


def test_what_was_not_compared_is_not_chosen(machine, monkeypatch):
    """No time was left to time the compiled step: what it takes is not known."""
    monkeypatch.setattr(planner, "compiler", lambda: "/usr/bin/cc")
    machine.compiled, machine.spend = 1e-6, 1.0
    machine.plain, machine.recorded, machine.group = 1e-2, 0.5e-2, lambda size: 1.0
    plan = chosen(experiment(epochs=10))
    assert not plan.compiled
    assert any(row.compiled and row.reason == "training is too short" for row in plan.tried)


def test_recording_each_replica_counts(machine):
    """600 steps of 2 ms are 1.2 s a replica, recorded 0.3 s and what it takes to record them."""
    machine.plain, machine.recorded = 2e-3, 0.5e-3
    machine.group = lambda size: 1.0
    assert chosen(experiment()).captured
    machine.setup = 1.5
    assert not chosen(experiment()).captured


def test_groups_go_to_workers_where_that_is_faster_by_more_than_their_start(machine):
    """Groups of eight, two at a time: 0.1 / 0.9 s a step for two replicas, against 0.1 for one."""
    plan = chosen(experiment())
    assert (plan.group, plan.workers, plan.threads) == (8, 2, 1)


def test_the_driver_keeps_them_where_it_is_as_fast(machine):
    """A worker's step counts 1/0.9 of its time, as workers share the memory."""
    machine.threads = 1.8
    plan = chosen(experiment())
    assert (plan.group, plan.workers, plan.threads) == (16, 0, 2)


@pytest.mark.parametrize("reason", ["", "torch.func.vmap refuses the model"])
def test_a_short_run_is_not_worth_the_start_of_workers(machine, monkeypatch, reason):
    """Saved: half of 9 600 steps of 1 ms, or of 0.5 ms: less than ten seconds."""
    monkeypatch.setattr(planning, "why_alone", lambda *_: reason)
    machine.plain, machine.recorded, machine.group = 1e-3, 0.5e-3, lambda size: 0.1e-3
    plan = chosen(experiment())
    assert (plan.group, plan.workers, plan.reason) == (1 if reason else 16, 0, reason)


def test_what_cannot_be_trained_together_goes_to_workers_where_it_pays(machine, monkeypatch):
    monkeypatch.setattr(planning, "why_alone", lambda *_: "the data says no")
    plan = chosen(experiment())
    assert (plan.group, plan.workers, plan.threads, plan.captured) == (1, 2, 1, True)
    assert plan.reason == "the data says no"


def test_replicas_go_to_workers_by_themselves_where_groups_are_slower(machine):
    machine.group = lambda size: 3.0
    plan = chosen(experiment())
    assert (plan.group, plan.workers) == (1, 2)
    assert plan.reason == "training them together was measured to be slower"


def test_what_cannot_be_sent_stays_with_the_driver(machine):
    mine = experiment()
    build = mine.build
    plan = chosen(dataclasses.replace(mine, build=lambda: build()))
    assert (plan.group, plan.workers) == (16, 0)
    machine.group = lambda size: 3.0
    plan = chosen(dataclasses.replace(mine, build=lambda: build()))
    assert (plan.group, plan.workers) == (1, 0)
    assert "cannot be sent to worker processes" in plan.reason


def test_memory_is_shared_among_the_workers(machine, monkeypatch):
    monkeypatch.setattr(room, "member_bytes", lambda *_: 1)
    monkeypatch.setattr(room, "evaluation_bytes", lambda *_: 0)
    monkeypatch.setattr(room, "available_bytes", lambda _: 8)
    plan = chosen(experiment())
    assert (plan.group, plan.workers) == (4, 2)


@pytest.fixture
def compiling(machine, monkeypatch):
    monkeypatch.setattr(planner, "compiler", lambda: "/usr/bin/cc")
    machine.compiled = 0.25
    return machine


def test_one_replica_is_compiled_where_that_is_faster(compiling):
    one, arm = experiment(seeds=[0]), load("digits").arms[:1]
    plan = chosen(one, arm)
    assert (plan.compiled, plan.reason) == (True, "")
    compiling.compiled = 2.0
    plan = chosen(one, arm)
    assert (plan.compiled, plan.captured) == (False, True)


@pytest.mark.parametrize("missing", ["compiler", "operations", "time"])
def test_nothing_is_compiled_in_vain(compiling, monkeypatch, missing):
    if missing == "compiler":
        monkeypatch.setattr(planner, "compiler", lambda: None)
    elif missing == "operations":
        compiling.compiled = None
    else:  # 600 steps of 6 ms: two seconds to compile are too much
        compiling.plain, compiling.recorded, compiling.compiled = 8e-3, 6e-3, 1e-3
    plan = chosen(experiment(seeds=[0]), load("digits").arms[:1])
    assert plan.captured
    assert not plan.compiled
    tried = any(each.compiled for turns in compiling.measured for each in turns)
    assert not tried


def test_compiled_replicas_are_trained_in_workers_where_groups_are_slower(compiling):
    """Two at a time: 0.25 / 0.9 s a step for two replicas, against 0.1 and then 0.2 for one."""
    compiling.threads = 1.8
    plan = chosen(experiment())
    assert (plan.compiled, plan.group) == (False, 16)
    compiling.group = lambda size: 0.4
    plan = chosen(experiment())
    assert (plan.compiled, plan.group, plan.workers) == (True, 1, 2)
    assert plan.reason == "each is faster compiled, by itself"


def test_one_process_trains_groups_rather_than_compiled_replicas(compiling, monkeypatch):
    """There, the first replica whose loss is NaN would end the run."""
    compiling.group = lambda size: 0.3
    monkeypatch.setattr(costs, "usable_threads", lambda: 1)
    plan = chosen(experiment())
    assert (plan.compiled, plan.group) == (False, 16)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.fixture
def own(machine, monkeypatch):
    """A model of one's own, and the reasons not to record it: by itself, and together."""
    reasons, asked = {False: "", True: ""}, []

    def why_eager(*_, together):
        asked.append(together)
        return reasons[together]

    monkeypatch.setattr(planner, "why_eager", why_eager)
    found = dataclasses.replace(experiment(), build=Own)
    arms = found.recipe.arms[:1]
    return dataclasses.replace(found, rates={arms[0].name: {}}), arms, reasons, asked


def test_a_model_of_ones_own_is_recorded_where_it_is_shown_to_be_safe(machine, own):
    mine, arms, reasons, _ = own
    machine.threads = 1.8
    plan = chosen(mine, arms)
    assert (plan.captured, plan.group, plan.eager_reason) == (True, 4, "")
    reasons[True] = "it counts"
    plan = chosen(mine, arms)
    assert (plan.captured, plan.group, plan.eager_reason) == (False, 4, "it counts")
    reasons[False], machine.group = "it counts by itself", lambda size: 3.0
    plan = chosen(mine, arms)
    assert (plan.captured, plan.group, plan.eager_reason) == (False, 1, "it counts by itself")


def test_whether_it_is_safe_is_not_asked_where_that_takes_too_long(machine, own):
    """4 x 600 steps of 1.5 ms are 3.6 s, of which 15 % are 0.5 s; of 10 ms they are 24 s."""
    mine, arms, _, asked = own
    machine.plain, machine.recorded, machine.group = 1.5e-3, 1e-3, lambda size: 0.5e-3
    plan = chosen(mine, arms)
    assert (plan.captured, plan.eager_reason, asked) == (False, "", [])
    assert "training is too short to find out" in " ".join(row.reason for row in plan.tried)
    machine.plain, machine.recorded, machine.group = 10e-3, 2e-3, lambda size: 5e-3
    plan = chosen(mine, arms)
    assert (plan.captured, plan.group, asked) == (True, 1, [False])
