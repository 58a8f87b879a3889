"""Rates of what is there already: modules, attributes and functions."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab.nn
from droplab.errors import PlacementError
from droplab.placement import clear, disabled, plan, rates, set_rate

STORED = {
    "drop_rate": 0.4,
    "block.1": 0.1,
    "lstm.dropout": 0.2,
    "mha.dropout": 0.3,
    "attn_drop": 0.15,
}
FUNCTIONS = {"F.dropout#2": 0.5, "F.dropout#3": 0.25}


@pytest.fixture
def model(build):
    return build("dropping")


@pytest.fixture
def example(batch):
    return batch("dropping")


def is_silent(model, x):
    return torch.equal(model(x), model(x))


def test_modules_and_attributes_without_an_example(model):
    assert dict(rates(model)) == STORED


def test_functions_with_one_each_rate_once_and_remembered(model, example):
    found = rates(model, example)
    assert dict(found) == STORED | FUNCTIONS
    assert {e.name: e.calls for e in found.entries} == dict.fromkeys(STORED | FUNCTIONS, 1)
    assert dict(rates(model)) == STORED | FUNCTIONS
    assert dict(rates(copy.deepcopy(model))) == STORED
    assert "attribute" in str(found)
    assert "F.dropout#3" in str(found)


def test_reading_changes_nothing(model, example, fingerprint, same):
    before, state = fingerprint(model), torch.get_rng_state()
    objects = [model.drop_rate, model.lstm.dropout, model.attn_drop.p]
    rates(model, example)
    same(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        a is b
        for a, b in zip(
            objects, [model.drop_rate, model.lstm.dropout, model.attn_drop.p], strict=True
        )
    )


def test_every_form_obeys(model, example):
    assert set_rate(model, "*", 0.0, example) == STORED | FUNCTIONS
    assert is_silent(model, example)
    assert model.lstm.dropout == model.mha.dropout == model.attn_drop.p == model.drop_rate == 0.0
    set_rate(model, "F.dropout#3", 1.0)
    assert not model(example).any()
    assert rates(model)["F.dropout#3"] == 1.0
    assert rates(model, example)["F.dropout#3"] == 1.0


@pytest.mark.parametrize("name", [*STORED, *FUNCTIONS])
def test_each_rate_alone_makes_the_model_random(model, example, name):
    set_rate(model, "*", 0.0, example)
    set_rate(model, name, 0.5)
    assert not is_silent(model, example)
    set_rate(model, name, 0.0)
    assert is_silent(model, example)


def test_a_functions_own_rate_takes_the_hooks_out_again(model, example, hooks):
    before = hooks(model)
    set_rate(model, "F.*", 0.9, example)
    assert hooks(model) != before
    for name, p in FUNCTIONS.items():
        set_rate(model, name, p)
    assert hooks(model) == before
    assert dict(rates(model, example)) == STORED | FUNCTIONS


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_replaced_function_rates_travel_with_copies(model, example, hooks, copied):
    clean = hooks(model)
    set_rate(model, "*", 0.0, example)
    twin = copied(model)
    assert is_silent(twin, example)
    clear(twin)
    assert hooks(twin) == clean
    assert not is_silent(twin, example)  # the functions are back at their own rates
    assert is_silent(model, example)


def test_calls_of_modules_inside_are_not_the_owners():
    class Inner(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, self.training)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return F.dropout(self.inner(x), 0.25, self.training)

    model, x = Outer(), torch.ones(64)
    assert dict(rates(model, x)) == {"F.dropout": 0.25, "inner.F.dropout": 0.5}
    set_rate(model, "F.dropout", 0.0)
    assert set(model(x).unique().tolist()) == {0.0, 2.0}
    set_rate(model, "inner.F.dropout", 0.0)
    assert torch.equal(model(x), x)


def test_an_error_in_forward_leaves_no_mode_behind():
    class Failing(nn.Module):
        def forward(self, x):
            x = F.dropout(x, 0.5)
            return x.reshape(7)

    model = Failing()
    with pytest.raises(PlacementError, match="Failing fails"):
        rates(model, torch.ones(3))
    set_rate(model, "*", 0.0, torch.ones(7))
    with pytest.raises(RuntimeError):
        model(torch.ones(3))
    assert torch._C._len_torch_function_stack() == 0


def test_placed_sites_are_rates_too(net, x):
    applied = plan(net, {"fc2": 0.5}).apply()
    assert dict(rates(net)) == {"fc2": 0.5}
    assert rates(net).entries[0].what == "site"
    assert set_rate(net, "fc2", 0.25) == {"fc2": 0.5}
    assert applied.p.tolist() == [0.25]


def test_own_layers_obey_and_keep_their_streams():
    model = nn.Sequential(droplab.nn.Dropout(0.5, seed=1), droplab.nn.DropPath(0.0))
    x = torch.ones(4, 8)
    assert dict(rates(model, x)) == {"0": 0.5, "1": 0.0}
    assert model[0].calls == 0
    set_rate(model, "type:Dropout", 1.0)
    assert not model(x).any()
    with disabled(model):
        assert torch.equal(model(x), x)
    assert dict(rates(model)) == {"0": 1.0, "1": 0.0}


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("block.1", {"block.1"}),
        ("*.dropout", {"lstm.dropout", "mha.dropout"}),
        ("re:.*drop", {"attn_drop"}),
        (re.compile(r"block\..*"), {"block.1"}),
        (nn.Dropout, {"block.1", "attn_drop"}),
        ("type:Dropout", {"block.1", "attn_drop"}),
    ],
)
def test_patterns(model, pattern, hit):
    assert set(set_rate(model, pattern, 0.7)) == hit
    assert {name for name, p in rates(model).items() if p == 0.7} == hit


@pytest.mark.parametrize(
    ("pattern", "p", "message"),
    [
        (
            "block.2",
            0.1,
            "'block.2' matches no rate; did you mean 'block.1'.*F.dropout have a name",
        ),
        ("block.1", 10, "set_rate: block.1: .*percentage; did you mean 0.1"),
        ("block.1", "0.1", "expected a drop probability"),
        (7, 0.1, "expected a name, a pattern or a type, got 7"),
        (nn.Conv2d, 0.1, "'type:Conv2d' matches no rate"),
    ],
)
def test_bad_input(model, pattern, p, message):
    with pytest.raises(PlacementError, match=message):
        set_rate(model, pattern, p)
    assert dict(rates(model)) == STORED


def test_an_example_is_asked_for_where_none_has_been_run():
    class Net(nn.Module):
        """As of graph networks: two calls of a function with one rate."""

        def __init__(self):
            super().__init__()
            self.dropout = 0.5

        def forward(self, x):
            x = F.dropout(x, self.dropout, self.training)
            return F.dropout(x + 1, self.dropout, self.training)

    for example, asked in ((None, True), (torch.zeros(2, 3), False)):
        with pytest.raises(PlacementError, match="did you mean 'dropout'") as told:
            set_rate(Net(), "dropout_2", 0.1, example=example)
        assert ("once an example has been run" in str(told.value)) is asked


def test_a_model_without_rates_says_what_to_do(net):
    with pytest.raises(PlacementError, match="the model has no drop rate; place some with plan"):
        set_rate(net, "*", 0.1)


def test_a_rate_that_cannot_be_set_is_explained():
    class FixedDrop(nn.Module):
        @property
        def p(self):
            return 0.5

    with pytest.raises(PlacementError, match="got the read-only attribute 'p' of FixedDrop"):
        set_rate(nn.Sequential(FixedDrop()), "0", 0.1)


def test_disabled_silences_everything_without_an_example(model, example, fingerprint, same):
    applied = plan(model, {"block.0": 0.5}).apply()
    before = fingerprint(model)
    with disabled(model):
        assert model.training
        assert is_silent(model, example)
        assert is_silent(model.block, example)
    same(before, fingerprint(model))
    assert dict(rates(model)) == STORED | {"block.0": 0.5}
    assert applied.p.tolist() == [0.5]
    assert not is_silent(model, example)


def test_disabled_gives_back_after_an_error_and_nests(model, example):
    with disabled(model):
        with pytest.raises(RuntimeError, match="mine"), disabled(model):
            raise RuntimeError("mine")
        assert is_silent(model, example)
    assert dict(rates(model, example)) == STORED | FUNCTIONS


def test_disabled_leaves_other_models_and_calls_alone(model):
    with disabled(model):
        assert not F.dropout(torch.ones(64), 0.5).all()


def test_rates_read_zero_inside_disabled_and_functions_cannot_be_set_there(model, example):
    rates(model, example)
    with disabled(model):
        assert set(rates(model).values()) == {0.0}
        with pytest.raises(PlacementError, match="inside disabled"):
            set_rate(model, "F.dropout#2", 0.3)


def test_disabled_respects_functions_that_were_changed(model, example):
    set_rate(model, "F.dropout#3", 1.0, example)
    with disabled(model):
        assert model(example).all()
    assert not model(example).any()


def test_float_attributes_that_are_no_rates_are_not_touched():
    model = nn.Sequential(nn.Linear(2, 2))
    model.drop_index, model.drop_last, model.p, model.dropout_steps = 0, True, 0.5, 0.3
    model.hidden_dropout_prob, model.layerdrop = 0.1, 0.2
    assert dict(rates(model)) == {"hidden_dropout_prob": 0.1, "layerdrop": 0.2}
