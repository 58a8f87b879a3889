"""Dropout of weights: what it does, and that it leaves no trace."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from droplab.errors import ArgumentError
from droplab.nn import (
    DropConnect,
    drop_connect,
    max_norm_,
    remove_drop_connect,
    remove_weight_drop,
    weight_drop,
)

MODULES: list[tuple[Any, str]] = [
    (lambda: nn.Linear(4, 3), "weight"),
    (lambda: nn.Linear(4, 3), "bias"),
    (lambda: nn.Conv2d(2, 3, 3), "weight"),
    (lambda: nn.Embedding(5, 3), "weight"),
    (lambda: nn.LSTM(4, 3), "weight_ih_l0"),
]


@pytest.mark.parametrize(("make", "name"), MODULES)
def test_removing_restores_everything(make: Any, name: str) -> None:
    module = make()
    before = dict(module.named_parameters())
    attributes = set(module.__dict__)
    drop_connect(module, name, 0.5)
    assert remove_drop_connect(module, name) is module
    after = dict(module.named_parameters())
    assert list(after) == list(before)
    assert all(after[key] is before[key] for key in before)
    assert type(module) is type(make())
    assert set(module.__dict__) == attributes
    assert not module._state_dict_hooks
    assert not module._load_state_dict_pre_hooks


def test_keys_stay_those_of_the_plain_model() -> None:
    plain = nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 2, 2))
    model = copy.deepcopy(plain)
    drop_connect(model[0])
    weight_drop(model[1])
    assert list(model.state_dict()) == list(plain.state_dict())
    for weight in plain.parameters():
        nn.init.normal_(weight)
    model.load_state_dict(plain.state_dict())
    assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))
    plain.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.parametrizations\.weight\.original"):
        model.load_state_dict(
            {key: w for key, w in plain.state_dict().items() if key != "0.weight"}
        )


def test_elements_are_dropped_in_training_alone() -> None:
    layer = nn.Linear(30, 20)
    weight = layer.weight.detach().clone()
    drop_connect(layer, p=0.5, seed=1)
    masked = layer.weight
    dropped = masked == 0
    assert 0.3 < dropped.float().mean() < 0.7
    assert torch.equal(masked[~dropped], weight[~dropped] * 2)
    assert not torch.equal(layer.weight, masked)
    assert torch.equal(layer.eval().weight, weight)


def test_gradients_reach_what_was_kept() -> None:
    layer = drop_connect(nn.Linear(6, 5), p=0.5, seed=1)
    layer(torch.ones(1, 6)).sum().backward()
    kept = DropConnect(0.5, seed=1)(torch.ones(5, 6))
    assert torch.equal(layer.parametrizations.weight.original.grad, kept)


def test_assigning_sets_what_is_trained() -> None:
    layer = drop_connect(nn.Linear(2, 2))
    with torch.no_grad():
        layer.weight = torch.ones(2, 2)
    assert torch.equal(layer.eval().weight, torch.ones(2, 2))


def test_a_recurrent_layer_has_one_mask_a_call() -> None:
    lstm = nn.LSTM(4, 3, 2)
    plain = copy.deepcopy(lstm)
    weight_drop(lstm, 0.5, seed=1)
    x = torch.randn(6, 2, 4)
    output = lstm(x)[0]
    with torch.no_grad():  # reading again gives the mask of the last call
        for name in ("weight_hh_l0", "weight_hh_l1"):
            getattr(plain, name).copy_(getattr(lstm, name))
    torch.testing.assert_close(output, plain(x)[0])
    assert not torch.equal(lstm.weight_hh_l0 == 0, lstm.weight_hh_l1 == 0)
    assert not torch.equal(lstm(x)[0], output)
    assert [chain[0].calls for chain in lstm.parametrizations.values()] == [2, 2]


def test_a_recurrent_layer_can_be_copied_after_a_call() -> None:
    lstm = weight_drop(nn.LSTM(4, 3), 0.5, seed=1)
    x = torch.randn(6, 2, 4)
    lstm(x)
    other = copy.deepcopy(lstm)
    assert torch.equal(lstm(x)[0], other(x)[0])
    remove_weight_drop(other)
    assert type(other) is nn.LSTM
    assert "parametrizations.weight_hh_l0.original" in dict(lstm.named_parameters())
    lstm(x)[0].sum().backward()


def test_all_recurrent_weights_are_restored() -> None:
    lstm = nn.LSTM(4, 3, 2, bidirectional=True)
    before = list(lstm.parameters())
    weight_drop(lstm)
    assert len(lstm.parametrizations) == 4
    remove_weight_drop(lstm)
    assert all(a is b for a, b in zip(lstm.parameters(), before, strict=True))
    assert not lstm._forward_hooks
    assert not lstm._forward_pre_hooks


def test_named_weights_of_any_module() -> None:
    layer = weight_drop(nn.Linear(4, 3), 0.5, ["weight", "bias"], seed=1)
    assert not torch.equal(layer.weight, layer.weight * 0 + layer.weight.mean())
    remove_weight_drop(layer)
    assert type(layer) is nn.Linear


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: drop_connect(nn.Linear(2, 2), "wieght"), "did you mean 'weight'"),
        (lambda: drop_connect(drop_connect(nn.Linear(2, 2))), "has it"),
        (lambda: drop_connect(nn.Linear(2, 2), p=1.5), "in \\[0, 1\\]"),
        (lambda: weight_drop(nn.Linear(2, 2)), "recurrent layer"),
        (lambda: remove_drop_connect(nn.Linear(2, 2)), "without"),
        (lambda: remove_weight_drop(nn.LSTM(2, 2)), "without"),
    ],
)
def test_misuse_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()


def test_other_parametrizations_are_not_thrown_away() -> None:
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))
    drop_connect(layer)
    with pytest.raises(ArgumentError, match="other parametrizations"):
        remove_drop_connect(layer)
    assert parametrize.is_parametrized(layer, "weight")


def test_max_norm_reaches_through_weight_dropout() -> None:
    layer = drop_connect(nn.Linear(4, 3))
    with torch.no_grad():
        layer.weight = torch.full((3, 4), 5.0)
    max_norm_(layer, 2.0)
    norms = layer.parametrizations.weight.original.norm(dim=1)
    torch.testing.assert_close(norms, torch.full((3,), 2.0))
