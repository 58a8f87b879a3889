"""What else a machine does must not decide: the clock and the costs of steps are told here."""

from __future__ import annotations

import contextlib
import dataclasses
import random

import pytest

from droplab.recipe import load, override
from droplab.studies import _costs as costs
from droplab.studies import _planner as planner
from droplab.studies import resolve
from droplab.studies._grouping import make_groups
from droplab.studies._scoring import scored_an_epoch
from droplab.train import ExecutionPlan, timing

REPLICAS, WORKERS = 16, 2


class Machine:
    """Two cores on which others work in phases: their length and weight are drawn.

    A step takes its true seconds where nothing else runs, and 1.5 to 6 times as long in a phase of
    load; of that, a processor counts 1 to 2.5 times the true seconds for this process, since caches
    are shared.
    """

    def __init__(self, seed):
        draw = self.random = random.Random(seed)
        self.now = self.used = 0.0
        self.until, self.waits, self.works = 0.0, 1.0, 1.0
        self.plain = 1e-3 * draw.uniform(0.8, 2.0)
        self.recorded = self.plain * draw.uniform(0.3, 1.1)
        self.compiled = self.recorded * draw.uniform(0.4, 1.6)
        self.groups = {size: self.plain * draw.uniform(0.1, 1.2) for size in (16, 8, 4)}
        self.threads = draw.uniform(0.5, 1.8)
        self.scored = self.plain * draw.uniform(0.0, 0.05)
        self.scored_together = draw.uniform(0.5, 2.0)

    def cost(self, plan):
        """Seconds of a step of one replica where nothing else runs."""
        if plan.group > 1:
            cost = self.groups[plan.group]
        elif plan.compiled:
            cost = self.compiled
        else:
            cost = self.recorded if plan.captured else self.plain
        return cost / (self.threads if plan.threads > 1 else 1.0)

    def score(self, plan):
        """Seconds in which an example of one replica is scored where nothing else runs."""
        cost = self.scored * (self.scored_together if plan.group > 1 else 1.0)
        return cost / (self.threads if plan.threads > 1 else 1.0)

    def work(self, seconds, threads):
        while seconds > 0:
            if self.now >= self.until:
                busy = self.random.random() < 0.6
                self.until = self.now + self.random.expovariate(1 / 0.08)
                self.waits = self.random.uniform(1.5, 6.0) if busy else 1.0
                self.works = min(self.waits, self.random.uniform(1.0, 2.5)) if busy else 1.0
            part = min(seconds, max(1e-6, (self.until - self.now) / self.waits))
            seconds -= part
            self.now += part * self.waits
            self.used += part * self.works * threads


def trial_on(machine):
    class Trial:
        def __init__(self, experiment, arms, plan):
            self.members, self._plan = 1, plan
            if plan.group > 1:
                self.members = len(
                    make_groups(arms, experiment.recipe.seeds, plan.group)[0].members
                )

        def step(self):
            threads = planning_threads[-1]
            plan = dataclasses.replace(self._plan, threads=threads)
            machine.work(machine.cost(plan) * self.members, threads)

        def score_some(self, split, order, batch_size):
            threads = planning_threads[-1]
            plan = dataclasses.replace(self._plan, threads=threads)
            machine.work(machine.score(plan) * len(order) * self.members, threads)

    return Trial


planning_threads = [1]


@pytest.fixture
def machine_of(monkeypatch):
    """Return a machine by its seed, whose clock planning reads from then on."""

    def active(plan):
        planning_threads[:] = [plan.threads]
        return contextlib.nullcontext()  # the threads of this process do not step

    def made(seed):
        machine = Machine(seed)
        monkeypatch.setattr(ExecutionPlan, "active", active)
        for room in (planner, timing):
            for name in ("perf_counter", "process_time", "thread_time"):
                read = "now" if name == "perf_counter" else "used"
                monkeypatch.setattr(
                    room, name, lambda read=read: getattr(machine, read), raising=False
                )
        monkeypatch.setattr(planner, "TimedReplicas", trial_on(machine))
        for room in (costs, planner, timing):
            monkeypatch.setattr(room, "usable_threads", lambda: WORKERS, raising=False)
        monkeypatch.setattr(timing, "medium_is_accurate", lambda: False)
        monkeypatch.setattr(planner, "compiler", lambda: "/usr/bin/cc")
        return machine

    return made


def true_total(machine, plan, experiment):
    """Seconds of training on a quiet machine, scoring included."""
    an_epoch = experiment.steps_an_epoch * machine.cost(plan)
    an_epoch += scored_an_epoch(experiment) * machine.score(plan)
    each = experiment.recipe.epochs * an_epoch
    if not plan.workers:
        return REPLICAS * each
    rounds = REPLICAS // plan.group // plan.workers
    took = rounds * (costs._TASK_SECONDS + plan.group * each / costs._BESIDE)
    return took + costs._START_SECONDS


def all_plans():
    for threads, workers in ((1, 0), (1, WORKERS), (2, 0)):
        for captured in (False, True):
            yield ExecutionPlan(threads, captured=captured, workers=workers)
        if threads == 1:
            yield ExecutionPlan(1, captured=True, compiled=True, workers=workers)
        for size in (16, 8, 4):
            if size < REPLICAS or not workers:
                yield ExecutionPlan(threads, captured=True, group=size, workers=workers)


def test_the_chosen_plan_is_nearly_the_best_whatever_else_the_machine_does(machine_of):
    """Training takes minutes, so there is time to measure; of each plan the true cost counts."""
    recipe = override(load("digits"), {"seeds": [0, 1, 2, 3], "epochs": 1500})
    experiment, worst = resolve(recipe), 0.0
    for seed in range(40):
        machine = machine_of(seed)
        plan = planner.Planner(experiment, recipe.arms, "cpu", lambda: "").choose()
        best = min(true_total(machine, each, experiment) for each in all_plans())
        worst = max(worst, true_total(machine, plan, experiment) / best)
    assert worst <= 1.3
