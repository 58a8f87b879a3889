"""All dropout drops, whoever wrote it how, and nothing else trains."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.errors import ArgumentError, PlacementError
from droplab.uncertainty import awake
from tests.unit.uncertainty.ways import WAYS, Function, Gate, model_with

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=list(WAYS))
def way(request):
    return request.param


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(map(torch.equal, *zip(*pairs, strict=True)))


@pytest.mark.parametrize("training", [False, True])
def test_every_way_to_drop_is_woken_and_nothing_else_is(way, training):
    model = model_with(way).train(training)
    before = copy.deepcopy(model)
    flags = [module.training for module in model.modules()]
    plain = copy.deepcopy(model).eval()(X)
    with awake(model, example=X) as woken, torch.no_grad():
        assert woken.paths
        assert not model.norm.training
        one, two = model(X), model(X)
    assert not torch.equal(one, two)
    assert not torch.allclose(one, plain)
    assert [module.training for module in model.modules()] == flags
    assert same(model, before)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_the_first_call_is_the_example_if_none_is_given(way):
    model = model_with(way).eval()
    with awake(model) as woken, torch.no_grad():
        one, two = model(X), model(X)
    assert woken.paths
    assert not torch.equal(one, two)
    assert not any(module.training for module in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_it_says_what_it_woke():
    model = model_with("nn.Dropout")
    with awake(model, example=X) as woken:
        assert woken.rates == {"way": 0.5}
        assert str(woken) == "awake: 'way' 0.5"
    with awake(model_with("written by hand"), example=X) as woken:
        assert str(woken) == "awake: 'way' at a rate of its own"


def test_a_batch_norm_uses_its_running_statistics():
    model = Gate(nn.Dropout(1e-4)).eval()
    model.norm.running_mean.fill_(5.0)
    with awake(model, example=X), torch.no_grad():
        found = model.norm(model.first(X))
    expected = F.batch_norm(
        model.first(X),
        model.norm.running_mean,
        model.norm.running_var,
        model.norm.weight,
        model.norm.bias,
    )
    assert torch.equal(found, expected)


def test_a_model_without_dropout_is_given_some_in_the_same_call():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    plain = model(X)
    with awake(model, 0.5, example=X) as woken, torch.no_grad():
        assert not torch.equal(model(X), model(X))
        assert woken.rates == {"2": 0.5}
    assert torch.equal(model(X), plain)


def test_dropout_that_is_placed_already_is_woken():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    with droplab.plan(model, 0.5).applied(), awake(model, example=X), torch.no_grad():
        assert not torch.equal(model(X), model(X))


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Dropout(0.0), nn.Dropout2d(0)])
@pytest.mark.parametrize("example", [X, None])
def test_a_model_in_which_nothing_wakes_is_refused(layer, example):
    model = Gate(layer)
    said = "without any dropout, or with rates of 0"
    with pytest.raises(ArgumentError, match=said), awake(model, example=example):
        model(X)
    assert model.training
    assert not model._forward_pre_hooks


def test_sites_at_a_rate_of_0_do_not_count():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    said = "without any dropout, or with rates of 0"
    refused = pytest.raises(ArgumentError, match=said)
    with droplab.plan(model, 0.0).applied(), refused, awake(model, example=X):
        pass
    with droplab.plan(model, {"0": 0.0, "2": 0.5}).applied(), awake(model, example=X) as woken:
        assert woken.paths == ("2",)
        assert woken.rates == {"2": 0.5}


def test_an_error_inside_restores_everything():
    model = model_with("F.dropout").train()
    with pytest.raises(ZeroDivisionError), awake(model, example=X):
        raise ZeroDivisionError
    assert all(module.training for module in model.modules())


def test_keyword_arguments_and_wrappers_are_looked_through():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = Function()

        def forward(self, x, scale=1.0):
            return self.drop(x) * scale

    model = Named()
    with awake(model), torch.no_grad():
        assert not torch.equal(model(X, scale=2.0), model(X, scale=2.0))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_model_and_a_wrong_example_are_refused():
    net = model_with("nn.Dropout")
    with (
        pytest.raises(PlacementError, match="scripted"),
        awake(torch.jit.trace(nn.Linear(8, 2), X)),
    ):
        pass
    wrong = torch.ones(2, 5)
    with pytest.raises(PlacementError, match="example"), awake(net, example=wrong):
        pass
