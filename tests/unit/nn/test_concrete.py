"""The learned rate, and the two terms it is learned with."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.nn import ConcreteDropout


def test_regularisers_are_those_of_the_paper() -> None:
    p, examples, length = 0.3, 50, 2.0
    drop, fc = ConcreteDropout(p).requires_grad_(False), nn.Linear(7, 4).requires_grad_(False)
    nn.init.constant_(fc.weight, 0.5)
    squares = float(fc.weight.square().sum())
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert float(drop.weight_regularizer(fc.weight)) == pytest.approx(squares / (1 - p), rel=1e-5)
    assert float(drop.dropout_regularizer(7)) == pytest.approx(-7 * entropy, rel=1e-5)
    expected = (0.5 * length**2 * squares / (1 - p) - 7 * entropy) / examples
    value = drop.regularizer(fc.weight, examples=examples, length_scale=length)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    conv = nn.Conv2d(3, 4, 5).requires_grad_(False)
    value = drop.regularizer(conv.weight, examples=1, length_scale=0.0, features=9)
    assert float(value) == pytest.approx(-9 * entropy, rel=1e-5)


def test_entropy_alone_draws_the_rate_to_one_half() -> None:
    drop = ConcreteDropout(0.1)
    optimizer = torch.optim.SGD(drop.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        drop.dropout_regularizer(5).backward()
        optimizer.step()
    assert drop.p == pytest.approx(0.5, abs=1e-3)


def test_noise_in_the_targets_keeps_more_dropout_than_none() -> None:
    """The rate falls where the data ask for exact outputs, and stays where they do not."""
    rates = {}
    for spread in (0.01, 10.0):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(50, 8, generator=generator)
        y = x.sum(1, keepdim=True) + spread * torch.randn(50, 1, generator=generator)
        drop, fc = ConcreteDropout(0.2, seed=1), nn.Linear(8, 1)
        nn.init.ones_(fc.weight)
        optimizer = torch.optim.Adam([*drop.parameters(), *fc.parameters()], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            fit = (fc(drop(x)) - y).square().mean() / (2 * spread**2) + math.log(spread)
            (fit + drop.regularizer(fc.weight, examples=50, length_scale=0.1)).backward()
            optimizer.step()
        rates[spread] = drop.p
    assert rates[0.01] < 0.02
    assert rates[10.0] > 0.2


def test_a_cold_mask_is_hard_and_drops_at_the_rate() -> None:
    """Binomial: 5 standard errors, false-alarm rate 6e-7."""
    drop = ConcreteDropout(0.25, temperature=1e-4, seed=1)
    output = drop(torch.ones(40_000)).detach()
    hard = (output < 1e-4) | ((output - 1 / 0.75).abs() < 1e-4)
    assert hard.float().mean() > 0.99
    assert abs((output < 0.5).double().mean() - 0.25) < 5 * (0.25 * 0.75 / 40_000) ** 0.5


def test_the_logit_is_the_only_key() -> None:
    drop = ConcreteDropout(0.2, seed=1)
    assert list(drop.state_dict()) == ["p_logit"]
    other = ConcreteDropout(0.4, seed=1)
    other.load_state_dict(drop.state_dict())
    assert other.p == pytest.approx(0.2)


@pytest.mark.parametrize("arguments", [{"p": 0.0}, {"p": 1.0}, {"temperature": 0.0}])
def test_impossible_arguments_are_refused(arguments) -> None:
    with pytest.raises(ArgumentError, match="ConcreteDropout"):
        ConcreteDropout(**arguments)


def test_examples_are_counted() -> None:
    with pytest.raises(ArgumentError, match="examples"):
        ConcreteDropout().regularizer(torch.ones(2, 2), examples=0)
