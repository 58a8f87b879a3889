"""Schedulers as tables: what torch does, and lengths that are not those of the run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.train import Scheduler
from droplab.train._scheduler import scheduler_names


@pytest.mark.parametrize("name", scheduler_names())
def test_the_table_is_what_torch_does(name):
    arguments = {
        "StepLR": {"step_size": 2},
        "MultiStepLR": {"milestones": (1, 3)},
        "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 5},
        "CosineAnnealingWarmRestarts": {"T_0": 2},
        "CyclicLR": {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 2},
        "OneCycleLR": {"max_lr": 0.5, "total_steps": 6},
        "ReduceLROnPlateau": {"patience": 1},
    }.get(name, {})
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4, momentum=0.9)
    table = Scheduler(name, arguments).table(optimizer, 6)
    assert optimizer.param_groups[0]["lr"] == 0.4
    assert len(table) == 6
    real = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    for row in table:
        group = optimizer.param_groups[0]
        assert row[0] == {key: group[key] for key in row[0]}
        assert set(row[0]) == {"lr"} | (
            {"momentum"} if name in ("CyclicLR", "OneCycleLR") else set()
        )
        if row is not table[-1]:
            optimizer.step()
            real.step(*[0.0] if name == "ReduceLROnPlateau" else [])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("StepLr", {}, "got 'StepLr'; did you mean 'StepLR'"),
        ("SequentialLR", {}, "which needs other schedulers"),
        ("LambdaLR", {}, "which needs a function"),
        ("StepLR", {"step": 3}, r"scheduler.step: .* did you mean 'step_size'"),
        ("StepLR", {}, r"refused \{\} over 4 epochs: .*step_size"),
        ("OneCycleLR", {"max_lr": 1.0, "total_steps": 2}, "over 4 epochs: .*number of total steps"),
    ],
)
def test_schedulers_that_are_refused(name, arguments, message):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4, momentum=0.9)
    with pytest.raises(ArgumentError, match=message):
        Scheduler(name, arguments).table(optimizer, 4)


@pytest.mark.parametrize(
    ("arguments", "every", "message"),
    [
        (
            {"total_steps": 1000},
            "step",
            r"after every step, 20 times in this run \(4 epochs of 5 steps\), got 1000; write "
            r"total_steps = 20 or leave it out$",
        ),
        ({"total_steps": 4}, "step", "got 4; write total_steps = 20 or .* every = 'epoch'"),
        ({"epochs": 4, "steps_per_epoch": 6}, "step", "20 times in this run .* got 24"),
        (
            {"total_steps": 1000},
            "epoch",
            "after every epoch, 4 times .* got 1000; .*total_steps = 4 or",
        ),
        ({"total_steps": 20}, "epoch", "write total_steps = 4 or leave it out, or .* 'step'"),
    ],
)
def test_a_cycle_of_another_length_than_the_run_is_refused(arguments, every, message):
    scheduler = Scheduler("OneCycleLR", {"max_lr": 0.2, **arguments}, every)
    with pytest.raises(ArgumentError, match=message):
        scheduler.over(4, 5)
    right = 20 if every == "step" else 4
    told = Scheduler("OneCycleLR", {"max_lr": 0.2, "total_steps": right}, every)
    assert told.over(4, 5) is told
    assert Scheduler("OneCycleLR", {"max_lr": 0.2}, every).over(4, 5) == told
    automatic = Scheduler("OneCycleLR", {"max_lr": 0.2, "total_steps": "auto"}, every)
    assert automatic.over(4, 5) == told
    sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4, momentum=0.9)
    assert not automatic.recordable(sgd) or every == "epoch"


def test_a_length_that_is_longer_than_the_run_is_noted():
    cosine = Scheduler("CosineAnnealingLR", {"T_max": 1000})
    assert cosine.doubts(10, 100) == (
        "scheduler.T_max = 1000 is more than the 10 epochs of the run, and the scheduler is "
        "stepped after every epoch. If it was meant in steps (1000 in all), write "
        "scheduler.every = 'step'.",
    )
    assert cosine.doubts(1000, 100) == ()
    assert Scheduler("CosineAnnealingLR", {"T_max": 1000}, "step").doubts(10, 100) == ()
    milestones = Scheduler("MultiStepLR", {"milestones": (500, 800)})
    assert milestones.doubts(10, 100)[0].startswith("scheduler.milestones = 500 is more than")
