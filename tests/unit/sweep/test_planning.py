"""When groups go to worker processes."""

from __future__ import annotations

import dataclasses

import pytest

from droplab.recipe import load, override
from droplab.sweep import _planning as planning
from droplab.sweep import choose_plan, resolve
from droplab.train import ExecutionPlan

SECONDS = {"single": 1.0, "driver": 0.4, "worker": 0.4}
"""What a step is said to take: of one replica, and of a group of eight in driver and worker."""


@pytest.fixture
def timed(monkeypatch):
    """Replaces the clock; returns the table of what it says."""
    table = dict(SECONDS)
    calls = []

    def time_plans(make_step, *, captured, seconds, threads=(), device=None):
        way = "single" if not calls else "worker" if threads == (1,) else "driver"
        calls.append(way)
        return ExecutionPlan(1 if threads else 2, captured=captured), table[way]

    monkeypatch.setattr(planning, "time_plans", time_plans)
    monkeypatch.setattr(planning, "usable_threads", lambda: 2)
    monkeypatch.setattr(planning, "compiler", lambda: None)
    return table


@pytest.fixture
def compiling(monkeypatch):
    """Replaces the clock, the compiler and what can be compiled; returns what a step takes."""
    table = {"single": 1.0, "compiled": 0.5, "group": 3.2, "known": True}

    def time_plans(make_step, *, captured, seconds, threads=(), device=None, compiled=False):
        if compiled:
            faster = table["compiled"] < table["single"]
            plan = ExecutionPlan(1, captured=True, compiled=faster)
            return plan, min(table["single"], table["compiled"])
        way = "group" if table.get("begun") else "single"
        table["begun"] = True
        return ExecutionPlan(1, captured=captured), table[way]

    monkeypatch.setattr(planning, "time_plans", time_plans)
    monkeypatch.setattr(planning, "usable_threads", lambda: 2)
    monkeypatch.setattr(planning, "compiler", lambda: "/usr/bin/cc")
    monkeypatch.setattr(planning, "_compiles", lambda alone: table["known"])
    return table


def experiment(**changes):
    return resolve(override(load("digits"), {"seeds": [0, 1, 2, 3], "epochs": 60, **changes}))


def test_groups_go_to_workers_where_that_is_faster_by_more_than_their_start(timed):
    """16 replicas: in the driver 0.4 s a step, in two workers 0.4 s for eight each at once."""
    timed["driver"] = 0.8
    plan = choose_plan(experiment())
    assert (plan.group, plan.workers, plan.threads) == (8, 2, 1)


def test_the_driver_keeps_them_where_it_is_as_fast(timed):
    """A worker's step counts 1/0.9 of its time, as workers share the memory."""
    timed["driver"] = 0.41
    plan = choose_plan(experiment())
    assert (plan.group, plan.workers) == (16, 0)


def test_a_short_run_is_not_worth_their_start(timed):
    """Saved: 600 steps x 0.36 ms, about 0.2 s."""
    for way in timed:
        timed[way] *= 1e-3
    timed["driver"] = 0.8e-3
    plan = choose_plan(experiment())
    assert (plan.group, plan.workers) == (16, 0)


def test_what_cannot_be_sent_stays_with_the_driver(timed):
    timed["driver"] = 0.8
    mine = dataclasses.replace(experiment(), build=experiment().build)
    build = mine.build
    plan = choose_plan(dataclasses.replace(mine, build=lambda: build()))
    assert (plan.group, plan.workers) == (16, 0)


def test_memory_is_shared_among_the_workers(timed, monkeypatch):
    timed["driver"] = 0.8
    monkeypatch.setattr(planning, "member_bytes", lambda *_: 1)
    monkeypatch.setattr(planning, "evaluation_bytes", lambda *_: 0)
    monkeypatch.setattr(planning, "available_bytes", lambda _: 8)
    plan = choose_plan(experiment())
    assert (plan.group, plan.workers) == (4, 2)


def test_one_replica_is_compiled_where_that_is_faster(compiling):
    one = {"seeds": [0]}
    arm = load("digits").arms[:1]
    assert choose_plan(experiment(**one), arm).compiled
    compiling["compiled"] = 2.0
    compiling["begun"] = False
    assert not choose_plan(experiment(**one), arm).compiled


@pytest.mark.parametrize("missing", ["compiler", "operations", "time"])
def test_nothing_is_compiled_in_vain(compiling, monkeypatch, missing):
    if missing == "compiler":
        monkeypatch.undo()
        monkeypatch.setattr(planning, "compiler", lambda: None)
    elif missing == "operations":
        compiling["known"] = False
    else:  # 600 steps of 5 ms: two seconds to compile are too much
        compiling["single"], compiling["compiled"] = 5e-3, 1e-3
    plan = choose_plan(experiment(seeds=[0]), load("digits").arms[:1])
    assert plan.captured
    assert not plan.compiled


def test_compiled_replicas_are_trained_in_workers_where_groups_are_slower(compiling):
    """16 replicas, 8 in each worker: 8 x 0.5 / 0.9 s a step against 3.2, then 8 x 0.2 / 0.9."""
    plan = choose_plan(experiment())
    assert (plan.compiled, plan.group) == (False, 16)
    compiling.update(begun=False, compiled=0.2)
    plan = choose_plan(experiment())
    assert (plan.compiled, plan.group, plan.workers) == (True, 1, 2)
    assert plan.reason == "each is faster compiled, by itself"


def test_one_process_trains_groups_rather_than_compiled_replicas(compiling, monkeypatch):
    """There, the first replica whose loss is NaN would end the run."""
    monkeypatch.setattr(planning, "usable_threads", lambda: 1)
    plan = choose_plan(experiment())
    assert not plan.compiled
