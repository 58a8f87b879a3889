"""A model of one's own is recorded where a record does what it does, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from droplab import placement
from droplab.train import EagerStep
from droplab.train.agreement._recordable import why_not_recorded
from droplab.train.capture import CapturedStep
from droplab.train.optimizers import build_optimizer
from tests.unit.train.recordable_cases import (
    NOT_RECORDED,
    RECORDED,
    Clock,
    Counter,
    DataBranch,
    Net,
)


def member(kind, name="Adam", **options):
    torch.manual_seed(0)
    model = kind()
    applied = placement.plan(model, {"fc2": 0.5}).apply()
    applied.seed({"fc2": 7})
    optimizer = build_optimizer(name, {"lr": 1e-2, **options}, model.parameters())
    return model.train(), optimizer, applied


def batches(count=4, rows=9):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(1, rows, 12, generator=generator),
            torch.randint(0, 3, (1, rows), generator=generator),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", RECORDED)
def test_what_is_recorded_has_the_bits_of_the_direct_step(kind):
    """Random numbers of forward included: both draw the same from torch's generator."""
    assert why_not_recorded(lambda: member(kind), batches(), 1.0) == ""
    states = []
    for executor in (EagerStep, CapturedStep):
        model, optimizer, applied = member(kind)
        step = executor(model, optimizer, 1.0)
        torch.manual_seed(5)
        outputs = []
        for number, (inputs, targets) in enumerate(batches(8)):
            applied.set_step(number)
            outputs.append(step(inputs[0], targets[0]))
        if isinstance(step, CapturedStep):
            step.refresh()
        model.eval()
        states.append([*outputs, *model.state_dict().values(), model(inputs[0])])
    for one, two in zip(*states, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", NOT_RECORDED)
def test_near_misses_are_not_recorded_and_the_reason_is_told(kind):
    reason = why_not_recorded(lambda: member(kind), batches())
    assert reason
    assert len(reason) < 300


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Counter, "its forward changes what a record does not repeat: 'calls'"),
        (Clock, "its forward does other operations in another state"),
        (DataBranch, "its step cannot be traced: "),
    ],
)
def test_what_the_reason_says(kind, words):
    assert why_not_recorded(lambda: member(kind), batches()).startswith(words)


def test_an_optimizer_without_a_fused_step_is_not_recorded():
    assert "has no fused step" in why_not_recorded(lambda: member(Net, "RAdam"), batches())


def test_an_optimizer_of_ones_own_is_not_recorded_even_if_it_is_a_fused_one():
    class Counting(torch.optim.Adam):
        calls = 0

        def step(self, closure=None):
            self.calls += 1
            return super().step(closure)

    def make():
        model, _, applied = member(Net)
        return model, Counting(model.parameters(), fused=True), applied

    assert "has no fused step" in why_not_recorded(make, batches())


def test_the_generators_are_left_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    why_not_recorded(lambda: member(Net), batches())
    assert torch.equal(torch.rand(1), expected)
