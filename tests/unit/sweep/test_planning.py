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
