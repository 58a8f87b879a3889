"""What rates mean: names, globs, regular expressions, types and depth."""

from __future__ import annotations

import re

import pytest
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
        ({"fc1*": 0.1}, "left out unless asked for by their exact name.*own input"),
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
