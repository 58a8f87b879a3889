"""Copies of models have all that the model has, and share nothing with it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from droplab.train import _copies
from droplab.train._copies import deep_copy


def tables(model):
    return [v for module in model.modules() for v in vars(module).values() if hasattr(v, "keys")]


def subjects():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    optimizer = torch.optim.Adam(model.parameters())
    holder = type("Holder", (), {})()
    holder.template, holder.number = model, 3
    return {
        "a model": (model, lambda twin: twin, model),
        "a model and its optimizer": ((model, optimizer), lambda twin: twin[0], model),
        "what holds a model": (holder, lambda twin: twin.template, model),
    }


@pytest.mark.parametrize("name", subjects())
def test_a_copy_is_complete_and_shares_nothing(name):
    subject, model_of, model = subjects()[name]
    memo = {}
    twin = model_of(deep_copy(subject, memo))
    x = torch.randn(5, 3)
    torch.testing.assert_close(twin(x), model(x), rtol=0, atol=0)  # its hook is there
    assert memo[id(model[0].weight)] is twin[0].weight
    assert not {id(table) for table in tables(model)} & {id(table) for table in tables(twin)}
    twin[2].register_forward_hook(lambda module, args, output: 0 * output)
    assert twin(x).std(0).max() == 0 < model(x).std(0).min()
    if isinstance(subject, tuple):
        assert memo[id(subject[1])].param_groups[0]["params"][0] is twin[0].weight


def test_empty_tables_of_hooks_are_not_taken_apart(monkeypatch):
    model, copied = subjects()["a model"][2], []
    deepcopy = copy._reconstruct
    monkeypatch.setattr(
        _copies.copy,
        "_reconstruct",
        lambda x, *args, **kw: copied.append(x) or deepcopy(x, *args, **kw),
    )
    deep_copy(model)
    assert {type(each).__name__ for each in copied} >= {"Linear", "BatchNorm1d"}
    assert sum(isinstance(each, dict) for each in copied) == 1  # that with a hook
