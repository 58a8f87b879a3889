"""Layers that stand in for torch's take their arguments and their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import droplab.nn as dnn

TWINS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", TWINS)
def test_arguments_and_repr_are_torchs(name: str) -> None:
    ours, theirs = getattr(dnn, name), getattr(nn, name)
    for arguments in ((), (0.3,), (0.3, True)):
        assert repr(ours(*arguments)) == repr(theirs(*arguments))
    assert ours(inplace=True, p=0.25).p == 0.25


@pytest.mark.parametrize("name", TWINS)
def test_tools_that_look_for_torchs_classes_find_them(name: str) -> None:
    layer = getattr(dnn, name)()
    assert isinstance(layer, getattr(nn, name))
    assert isinstance(layer, nn.modules.dropout._DropoutNd)


def test_inplace_is_accepted_and_executed_out_of_place() -> None:
    x = torch.ones(8)
    y = dnn.Dropout(1.0, inplace=True)(x)
    assert x.all()
    assert not y.any()


def test_it_loads_a_checkpoint_of_the_torch_model() -> None:
    theirs = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.BatchNorm1d(3))
    ours = nn.Sequential(nn.Linear(3, 3), dnn.Dropout(seed=1), nn.BatchNorm1d(3))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_the_rate_can_be_assigned_to() -> None:
    layer = dnn.Dropout(0.5, seed=1)
    layer.p = 1.0
    assert not layer(torch.ones(100)).any()
    layer.p = 0.0
    assert layer(torch.ones(100)).all()
    assert layer.p == 0.0


def test_a_rate_swapped_in_by_functional_call_is_used() -> None:
    layer = dnn.Dropout(0.0)
    swapped = {"rate": torch.tensor(1.0)}
    assert not torch.func.functional_call(layer, swapped, torch.ones(100)).any()


def test_rates_are_rounded_to_what_masks_can_do() -> None:
    layer = dnn.Dropout(0.3)
    assert layer.p == 0.3
    assert layer.rate.item() == round(0.3 * 65536) / 65536


def test_alpha_dropout_has_torchs_two_values() -> None:
    for p in (0.1, 0.5):
        ours = dnn.AlphaDropout(p, seed=1)(torch.zeros(1000)).unique()
        torch.manual_seed(0)
        theirs = nn.AlphaDropout(p)(torch.zeros(1000)).unique()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
