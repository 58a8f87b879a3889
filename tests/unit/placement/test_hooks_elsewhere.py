"""Placed models in the hands of torch's other tools."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from droplab import nn as layers
from droplab.errors import ArgumentError, PlacementError
from droplab.placement import plan

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3)).eval()


def quantised(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        return quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def test_a_placed_model_quantises_to_what_the_bare_one_does(model):
    wanted = quantised(model)(X)
    applied = plan(model, 0.5, example=X).apply()
    made = quantised(model)
    assert torch.equal(made(X), wanted)
    applied.revert()
    assert torch.equal(made(X), wanted)


def test_a_layer_that_took_over_the_hook_drops_its_input(model):
    plan(model, 0.5, example=X).apply()
    [hook] = model[2]._forward_pre_hooks.values()
    other = nn.Identity()
    other.register_forward_pre_hook(hook)  # as torch's fusing does it, without keyword arguments
    dropped = other(torch.ones(50, 8))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_scripting_a_placed_model_is_refused_in_one_sentence(model):
    plan(model, 0.5, example=X).apply()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        with pytest.raises(PlacementError, match="cannot be scripted; revert the plan"):
            torch.jit.script(model)
    [hook] = model[2]._forward_pre_hooks.values()
    assert not hasattr(hook, "__name__")


@pytest.mark.parametrize("seeded", [False, True])
def test_tracing_a_placed_model_in_training_mode_is_refused_in_one_sentence(model, seeded):
    wanted = model(X)
    applied = plan(model, 0.5, example=X).apply()
    if seeded:  # whose masks a trace would repeat
        applied.seed({"2": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        assert torch.equal(torch.jit.trace(model, X)(X), wanted)
        with pytest.raises(
            PlacementError, match=r"^2: .* traced in training mode, .*eval\(\) first"
        ):
            torch.jit.trace(model.train(), X)


def test_tracing_a_layer_of_droplab_in_training_mode_is_refused_in_one_sentence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        with pytest.raises(
            ArgumentError, match=r"^DropPath: a layer of droplab cannot be traced in"
        ):
            torch.jit.trace(nn.Sequential(nn.Linear(6, 6), layers.DropPath(0.2)), X)


def test_scripting_a_layer_of_droplab_is_refused_in_one_sentence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        with pytest.raises(ArgumentError, match=r"^DropPath: a layer of droplab cannot be script"):
            torch.jit.script(nn.Sequential(nn.Linear(6, 6), layers.DropPath(0.2)))
