"""Optimizers by name: every one that torch has, and clear refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.train import EagerStep, Scheduler, _scheduler, capture
from droplab.train.optimizers import build_optimizer, optimizer_names, reads_rate


@pytest.mark.parametrize("name", optimizer_names())
def test_every_named_optimizer_takes_a_step(name):
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=name != "Muon")  # torch's own Muon is for matrices alone
    before = [p.detach().clone() for p in model.parameters()]
    step = EagerStep(model, build_optimizer(name, {}, model.parameters()))
    step(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_fused_is_chosen_unless_the_user_chooses():
    parameters = list(nn.Linear(2, 2).parameters())
    assert build_optimizer("SGD", {"lr": 0.1}, parameters).defaults["fused"]
    assert not build_optimizer("SGD", {"lr": 0.1, "foreach": True}, parameters).defaults["fused"]


LATE = [(name, {}) for name in optimizer_names() if name != "Muon"] + [
    ("SGD", {"momentum": 0.9, **more})
    for more in ({}, {"nesterov": True}, {"weight_decay": 0.1}, {"dampening": 0.5})
]


@pytest.mark.parametrize(("name", "arguments"), LATE)
def test_gradients_that_come_late_are_taken_as_by_the_plain_form(name, arguments):
    """Of layers that were frozen, of blocks that stochastic depth left out."""
    rng = torch.Generator().manual_seed(0)
    begun = [torch.randn(3, 2, generator=rng) for _ in range(3)]
    gradients = [[torch.randn(3, 2, generator=rng) for _ in begun] for _ in range(4)]

    def trained(make):
        parameters = [nn.Parameter(value.clone()) for value in begun]
        optimizer = make(parameters)
        for step, row in enumerate(gradients):
            for late, (parameter, gradient) in enumerate(zip(parameters, row, strict=True)):
                parameter.grad = gradient.clone() if step >= late else None
            optimizer.step()
        return torch.stack([parameter.detach() for parameter in parameters])

    arguments = {"lr": 0.1, **arguments}
    ours = trained(lambda parameters: build_optimizer(name, arguments, parameters))
    plain = trained(lambda parameters: getattr(torch.optim, name)(parameters, **arguments))
    torch.testing.assert_close(ours, plain)


def test_toml_lists_become_tuples():
    parameters = nn.Linear(2, 2).parameters()
    assert build_optimizer("Adam", {"betas": [0.8, 0.9]}, parameters).defaults["betas"] == (
        0.8,
        0.9,
    )


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Adan", {}, "got 'Adan'; did you mean 'Adam'"),
        ("LBFGS", {}, "gradients only"),
        ("Adam", {"lrr": 1e-3}, r"optimizer.lrr: .* did you mean 'lr'"),
        ("Adam", {"lr": -1.0}, "refused .*Invalid learning rate"),
    ],
)
def test_bad_optimizers(name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        build_optimizer(name, arguments, nn.Linear(2, 2).parameters())


@pytest.mark.parametrize("read", [True, False])
def test_a_recording_reads_the_learning_rate_or_is_made_anew(monkeypatch, read):
    """Adagrad's update in torch 2.6 takes the number out of a tensor, which would freeze it."""
    for module in (_scheduler, capture):
        monkeypatch.setattr(module, "reads_rate", lambda optimizer: read)
    parameters = list(nn.Linear(2, 2).parameters())
    optimizer = build_optimizer("Adagrad", {"lr": 0.1}, parameters)
    halved = Scheduler("StepLR", {"step_size": 1, "gamma": 0.5})
    schedule = _scheduler.Schedule(halved, optimizer, 3, 2, start=0, captured=True)
    before = _scheduler.frozen_settings(optimizer)
    for lr in (0.1, 0.05):
        schedule.begin_epoch()
        assert float(optimizer.param_groups[0]["lr"]) == lr
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) is read
    assert (_scheduler.frozen_settings(optimizer) == before) is read
    assert capture.can_record(optimizer)
    given = torch.optim.Adagrad(parameters, lr=torch.tensor(0.1), fused=True)
    assert capture.can_record(given) is read
    by_step = Scheduler("StepLR", {"step_size": 1}, every="step")
    assert by_step.over(1, 3).recordable(optimizer) is read


def test_which_updates_read_a_learning_rate():
    parameters = list(nn.Linear(2, 2).parameters())
    for name in ("Adam", "AdamW", "SGD", "RMSprop"):
        assert reads_rate(getattr(torch.optim, name)(parameters, lr=0.1)) is (name != "RMSprop")
