"""What the comparison with the direct step lets pass, and what it names."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from droplab import placement
from droplab.data import Split
from droplab.ops import mask_key
from droplab.train import initial_model
from droplab.train.agreement import OneByOne, comparison_batches
from droplab.train.agreement._compare import disagreement
from droplab.train.capture import CapturedStep
from droplab.train.optimizers import build_optimizer

SEEDS = (0, 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(self.hidden(x)).relu())


class Counts(Net):
    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return super().forward(x) * len(self.calls)


class Switches(Net):
    """What it keeps in Python changes nothing yet: after a thousand steps it would."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) if self.calls < 1000 else super().forward(x) * 2


class Draws(Net):
    def forward(self, x):
        noise = np.random.rand()  # noqa: NPY002 # what such models do
        return super().forward(x) * (1 + 0.1 * noise)


def members(make, name="Adam", **arguments):
    found = []
    for seed in SEEDS:
        model = initial_model(make, seed)
        applied = placement.plan(model, {"head": 0.3}).apply()
        applied.seed({site: mask_key(seed, site) for site in applied.names})
        optimizer = build_optimizer(name, arguments or {"lr": 1e-2}, model.parameters())
        found.append((model, optimizer, applied))
    return found


def batches():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 6, generator=generator)
    return comparison_batches(Split(inputs, (inputs[:, :3].argmax(1))), SEEDS, 12)


def compare(make, build=CapturedStep, **own):
    return disagreement(
        OneByOne(members(make, **own)), OneByOne(members(make), build=build), batches()
    )


@pytest.mark.parametrize("name", ["Adam", "SGD", "Rprop"])
def test_a_recorded_step_agrees_although_a_gradient_is_rounding_alone(name):
    """The bias before BatchNorm: Adam and Rprop make whole steps of its rounding."""
    direct = OneByOne(members(Net, name))
    assert disagreement(direct, OneByOne(members(Net, name)), batches()) == ""
    double = OneByOne(members(Net, name), build=_in_another_order)
    assert disagreement(OneByOne(members(Net, name)), double, batches()) == ""


def _in_another_order(model, optimizer):
    """The direct step with other rounding: each sum over examples runs backwards."""
    from droplab.train import EagerStep

    step = EagerStep(model, optimizer)
    flags = {}

    def run(inputs, targets):
        hook = model.norm.register_forward_hook(lambda _, __, y: y * (1 + 1e-7) / (1 + 1e-7))
        flags["ran"] = True
        try:
            return step(inputs, targets)
        finally:
            hook.remove()

    return run


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Counts, "the logits differ from those of the single step at step 3"),
        (Switches, "a number in Python that changes, 'calls'"),
        (Draws, "the direct step itself, taken twice from the same state"),
    ],
)
def test_what_a_recording_would_freeze_is_named(make, reason):
    assert reason in compare(make)


@pytest.mark.parametrize("wrong", ["buffer", "weight", "moment"])
def test_a_change_of_one_number_is_found(wrong):
    def build(model, optimizer):
        step = CapturedStep(model, optimizer)

        def run(inputs, targets):
            logits = step(inputs, targets)
            with torch.no_grad():
                if wrong == "buffer":
                    model.norm.running_mean[2] *= 1.01
                elif wrong == "weight":
                    model.head.weight[1, 2] += 1e-4
                else:
                    optimizer.state[model.head.bias]["exp_avg"][0] *= 1.01
            return logits

        return run

    name = {"buffer": "buffer 'norm.running_mean'", "weight": "parameter 'head.weight'"}
    assert name.get(wrong, "'exp_avg' of 'head.bias'") in compare(Net, build)


def test_another_learning_rate_is_found():
    direct = OneByOne(members(Net))
    other = OneByOne(members(Net, "Adam", lr=1.01e-2))
    assert "parameter 'hidden.weight' differs" in disagreement(direct, other, batches())


def test_clipping_is_part_of_the_step():
    clipped = partial(CapturedStep, clip=1e-3)
    assert "differs from that of the single step at step 1" in compare(Net, clipped)
