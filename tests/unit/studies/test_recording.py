"""Runs of a model of one's own: recorded to the same bits where that is safe, and never else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import droplab
from droplab.errors import ArgumentError
from droplab.studies import _costs
from droplab.train import ExecutionPlan


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(12, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.norm(self.fc(x)))
        return self.head(h + 0.1 * h.tanh())


class Counting(Own):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) if self.calls < 1000 else 2 * super().forward(x)


class Branching(Own):
    def forward(self, x):
        return super().forward(x) if x.sum() > -1e9 else 2 * super().forward(x)


def examples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 12, generator=generator), torch.arange(count) % 3


def sweep(factory, out, plan=None):
    return droplab.sweep(
        factory,
        examples(60, 0),
        examples(30, 1),
        rates=[0.5],
        sites=["head"],
        seeds=2,
        epochs=3,
        batch_size=20,
        out=out,
        execution=plan,
    )


def rows(found):
    return [dataclasses.replace(row, seconds=0.0) for row in found.run.rows]


@pytest.mark.parametrize("group", [1, 4])
def test_recorded_steps_have_the_bits_of_eager_ones(group):
    plans = [ExecutionPlan(1, captured=captured, group=group) for captured in (True, False)]
    one, two = (sweep(Own, f"run-{plan.captured}", plan) for plan in plans)
    assert rows(one) == rows(two)


@pytest.mark.parametrize("group", [1, 4])
def test_a_plan_that_records_what_cannot_be_is_refused(group):
    plan = ExecutionPlan(1, captured=True, group=group)
    with pytest.raises(ArgumentError, match=r"plan: it.*'calls'"):
        sweep(Counting, "run", plan)


def test_a_plan_of_groups_for_a_model_that_cannot_be_batched_is_refused():
    with pytest.raises(ArgumentError, match=r"plan: it trains 4 replicas together, .*vmap"):
        sweep(Branching, "run", ExecutionPlan(1, group=4))


@pytest.mark.usefixtures("thorough")
def test_the_plan_of_a_run_says_why_its_steps_are_not_recorded(monkeypatch):
    monkeypatch.setattr(_costs, "usable_threads", lambda: 1)
    plan = sweep(Counting, "run").run.plan
    assert plan["captured"] is False
    assert "'calls'" in plan["eager_reason"]
