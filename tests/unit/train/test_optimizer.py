"""Optimizers by name: every one that torch has, and clear refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.train import EagerStep
from droplab.train.optimizers import build_optimizer, optimizer_names


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
