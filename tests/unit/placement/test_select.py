"""What rates mean: names, globs, regular expressions, types and depth."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from droplab.errors import PlacementError
from droplab.placement import Ramp, plan


@pytest.fixture
def model(build):
    return build("residual")


def test_one_number_means_every_hidden_site(net, x):
    assert plan(net, 0.3).rates == {"fc2": 0.3, "fc3": 0.3}
    assert plan(net, 0.3, example=x).rates == {"fc2": 0.3, "fc3": 0.3}
    assert plan(net, 0).rates == {"fc2": 0.0, "fc3": 0.0}


@pytest.mark.parametrize(
    "pattern",
    ["blocks.*.b", "re:blocks\\.[0-9]\\.b", re.compile(r"blocks\.\d\.b"), "blocks.[0-2].b"],
)
def test_globs_and_regular_expressions(model, pattern):
    rates = {"blocks.0.b": 0.2, "blocks.1.b": 0.2, "blocks.2.b": 0.2}
    assert plan(model, {pattern: 0.2}).rates == rates


@pytest.mark.parametrize("pattern", [nn.Conv2d, "type:Conv2d"])
def test_types(build, pattern):
    assert plan(build("conv"), {pattern: 0.2, "conv1": 0.1}).rates == {"conv1": 0.1, "conv2": 0.2}


def test_a_type_means_subclasses_too(model):
    assert len(plan(model, {nn.Module: 0.1}).rates) == 8


def test_depth(model):
    rates = {"blocks.0.a": 0.1, "blocks.1.a": 0.2, "blocks.2.a": 0.3}
    assert plan(model, {"blocks.*.a": Ramp(0.1, 0.3)}).rates == rates
    assert plan(model, {"blocks.*.a": {"first": 0.1, "last": 0.3}}).rates == rates
    assert list(plan(model, Ramp(0.0, 0.7)).rates.values())[::7] == [0.0, 0.7]


def test_an_exact_name_wins_over_patterns(model):
    rates = plan(model, {"blocks.*": 0.2, "blocks.1.a": 0.5}).rates
    assert rates["blocks.1.a"] == 0.5
    assert rates["blocks.0.a"] == 0.2
    assert len(rates) == 6


def test_the_second_name_of_a_layer_means_it_too():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), layer, layer)
    assert plan(model, {"2": 0.3}).rates == {"1": 0.3}
    with pytest.raises(PlacementError, match="both mean the site '1'"):
        plan(model, {"1": 0.1, "2": 0.3})


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"fc4": 0.3}, "'fc4' matches no site; did you mean 'fc3'"),
        ({"head.*": 0.3}, r"'head\.\*' matches no site; did you mean|valid names"),
        ({"re:fc[": 0.3}, "does not compile"),
        ({"type:Conv2d": 0.3}, "'type:Conv2d' matches no site"),
        ({nn.Conv2d: 0.3}, "'type:Conv2d' matches no site"),
        ({"fc2": 30}, r"rates\.fc2: .*percentage; did you mean 0\.3"),
        (30, "percentage; did you mean 0.3"),
        ({"fc2": -0.1}, r"in \[0, 1\], got -0.1"),
        ({"fc2": "0.3"}, "got '0.3' .str."),
        ({"fc2": True}, "got True"),
        ({"fc2": {"from": 0.1}}, "first and last, got the keys from"),
        ({"fc2": {"first": 0.1, "last": 20}}, "percentage"),
        ({2: 0.3}, "expected names, patterns or layer types, got 2"),
        ("0.3", "expected a number, a Ramp or a mapping"),
        ({"fc*": 0.1, "*2": 0.2}, r"'\*2' and 'fc\*' both mean the site 'fc2'; give one"),
        ({"fc1*": 0.1}, "left out unless asked for by name.*own input"),
    ],
)
def test_bad_rates_are_refused(net, rates, message):
    with pytest.raises(PlacementError, match=message):
        plan(net, rates)


def test_a_container_and_a_bare_layer_name_are_explained(model):
    with pytest.raises(
        PlacementError, match=r"'blocks.1', which only contains.*write 'blocks.1.\*'"
    ):
        plan(model, {"blocks.1": 0.1})
    with pytest.raises(PlacementError, match=r"did you mean 'blocks.0.a', or '\*.a' for all 3"):
        plan(model, {"a": 0.1})


def test_a_model_without_weight_layers_says_so():
    with pytest.raises(PlacementError, match="has no linear, convolution or recurrent layer"):
        plan(nn.Sequential(nn.ReLU()), 0.1)


def test_no_rates_make_an_empty_plan(net):
    assert plan(net, {}).rates == {}


class Normed(nn.Module):
    """As a ResNet is: every convolution stands before a BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 8, 8)])
def test_a_type_or_a_glob_reaches_layers_before_a_batch_norm_and_a_number_does_not(example):
    model = Normed()
    for rates in ({"type:Conv2d": 0.2}, {nn.Conv2d: 0.2}, {"conv*": 0.2}, {"re:conv.": 0.2}):
        made = plan(model, rates, example=example)
        assert made.rates == {"conv2": 0.2}  # the model's own input stays out
        assert "a BatchNorm follows the layer" in made.edits[0].reason
        assert "Warning: 1 of 1 placed stand before a BatchNorm" in " ".join(str(made).split())
    for rates in (0.2, {"*": 0.2}, {"re:.*": 0.2}):
        made = plan(model, rates, example=example)
        assert made.rates == {"fc": 0.2}
        assert made.before_batch_norm == ("conv2",)
        assert "1 left out before a BatchNorm" in repr(made)
        said = " ".join(str(made).split())
        assert "1 of 3 sites get dropout; 1 are left out, since a BatchNorm follows" in said
        assert '{"type:Conv2d": 0.1}' in said
        assert "Warning" not in said
