"""An eager step with a recorded update is the eager step, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from droplab.train import EagerStep, ExecutionPlan, capture
from droplab.train.capture import RecordedUpdate, build_step, can_record, saves_update
from droplab.train.optimizers import Group, build_optimizer

OPTIMIZERS = {
    "Adam": {"lr": 1e-2, "amsgrad": True},
    "AdamW": {"lr": 1e-2, "weight_decay": 0.1},
    "SGD": {"lr": 1e-2, "momentum": 0.9, "nesterov": True},
    "Adagrad": {"lr": 1e-2},
}
STEPS, STEADY = 60, 16


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """An update is recorded sooner than it pays, so that these steps replay it often enough."""
    monkeypatch.setattr(capture, "_STEADY", STEADY)


class Sometimes(nn.Module):
    """Uses its second layer in two of three steps, so that it has no gradient in the others."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5)
        self.last, self.calls = nn.Linear(5, 3), 0

    def forward(self, x):
        self.calls += 1
        x = self.first(x).relu()
        return self.last(self.second(x) if self.calls % 3 else x)


def pair(make, name, groups=()):
    """A model with its optimizer, twice the same."""
    for _ in range(2):
        torch.manual_seed(0)
        model = make()
        yield model, build_optimizer(name, OPTIMIZERS[name], model.parameters(), groups)


def plain_net():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3))


def train(steps, models, optimizers, between=lambda number, optimizer: None):
    """Take the same steps with both, and compare all that they leave."""
    generator = torch.Generator().manual_seed(1)
    for number in range(STEPS):
        rows = 9 if number % 5 else 4
        x = torch.randn(rows, 6, generator=generator)
        y = torch.randint(0, 3, (rows,), generator=generator)
        for step, optimizer in zip(steps, optimizers, strict=True):
            between(number, optimizer)
            step.refresh()
        assert torch.equal(*(step(x, y) for step in steps)), number
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = (optimizer.state_dict()["state"] for optimizer in optimizers)
    assert one.keys() == two.keys()
    for number, state in one.items():
        assert all(torch.equal(state[name], two[number][name]) for name in state)


def both(make, name, clip=None, groups=()):
    (m1, o1), (m2, o2) = pair(make, name, groups)
    recorded = build_step(ExecutionPlan(1), m2, o2, clip)
    assert isinstance(recorded._update, RecordedUpdate)
    return [EagerStep(m1, o1, clip), recorded], [m1, m2], [o1, o2]


def replayed(steps):
    return steps[1]._update._replay is not None


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bits_and_state_are_those_of_the_eager_step(name, clip):
    steps, *rest = both(plain_net, name, clip, [Group((3,), {"lr": 0.1})])
    train(steps, *rest)
    assert replayed(steps)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_without_gradient_stays_as_it_is(name):
    steps, *rest = both(Sometimes, name)
    train(steps, *rest)
    assert replayed(steps)


@pytest.mark.parametrize("every", [1, 30])
def test_it_follows_settings_that_change(every):
    before = set()

    def change(number, optimizer):
        if number and number % every == 0:
            before.add(replayed(steps))
            optimizer.param_groups[0]["lr"] *= 0.9

    steps, *rest = both(plain_net, "Adam")
    train(steps, *rest, change)
    assert (True in before) == (every > STEADY)
    assert not replayed(steps)  # what changes is waited for longer


def test_what_is_hung_on_an_optimizer_is_called_at_every_step():
    called = []
    _, models, optimizers = both(plain_net, "Adam")
    assert saves_update(optimizers[1])
    optimizers[1].register_step_post_hook(lambda *_: called.append(1))
    assert not can_record(optimizers[1])
    assert not saves_update(optimizers[1])
    step = build_step(ExecutionPlan(1), models[1], optimizers[1])
    for _ in range(STEPS):
        step(torch.ones(4, 6), torch.zeros(4, dtype=torch.long))
    assert len(called) == STEPS


def test_what_is_hung_on_all_optimizers_counts_as_well():
    _, _, (optimizer, _) = both(plain_net, "Adam")
    hung = register_optimizer_step_pre_hook(lambda *_: None)
    try:
        assert not can_record(optimizer)
    finally:
        hung.remove()
    assert can_record(optimizer)


def test_large_models_and_other_optimizers_keep_their_own_step():
    large, small = nn.Linear(1 << 10, 1 << 10), nn.Linear(2, 2)
    assert not saves_update(build_optimizer("Adam", {}, large.parameters()))
    assert not saves_update(build_optimizer("RMSprop", {}, small.parameters()))


def test_an_optimizer_of_ones_own_is_told_to_forget_gradients():
    class Own(torch.optim.SGD):
        forgotten = 0

        def zero_grad(self, set_to_none=True):
            self.forgotten += 1
            super().zero_grad(set_to_none)

    model = plain_net()
    optimizer = Own(model.parameters(), lr=0.1)
    step = build_step(ExecutionPlan(1), model, optimizer)
    for _ in range(3):
        step(torch.ones(4, 6), torch.zeros(4, dtype=torch.long))
    assert optimizer.forgotten == 3
