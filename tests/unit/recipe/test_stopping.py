"""Early stopping as a rule on numbers, and the part of a recipe that sets it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.errors import ArgumentError, RecipeError
from droplab.recipe import Stopping, StoppingSpec, dumps, load, loads, override, stopped_epoch

NAN = math.nan
curves = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, NAN, math.inf]), min_size=1)


def plainly(values: list[float], patience: int, min_gain: float) -> int:
    """The rule in the words of the docs, for a metric of which more is better."""
    looked_at = values
    gained, last_gain = NAN, 0
    for epoch, value in enumerate(values, start=1):
        if not math.isnan(value) and (math.isnan(gained) or value - gained > min_gain):
            gained, last_gain = value, epoch
        elif patience and epoch - last_gain == patience:
            looked_at = values[:epoch]
            break
    numbers = [value for value in looked_at if not math.isnan(value)]
    return looked_at.index(max(numbers)) + 1 if numbers else 1


@given(curves, st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.6]), st.booleans())
def test_the_rule_is_the_one_in_words(values, patience, min_gain, higher):
    asked = [value if higher else -value for value in values]
    found = stopped_epoch(
        asked, higher_is_better=higher, patience=patience, min_gain=min_gain if patience else 0.0
    )
    assert found == plainly(values, patience, min_gain if patience else 0.0)


@given(curves, st.integers(0, 4))
def test_taken_one_by_one_the_values_say_when_weights_are_to_be_kept(values, patience):
    rule, kept = Stopping(higher_is_better=True, patience=patience), 0
    for epoch, value in enumerate(values, start=1):
        if rule.take(value):
            kept = epoch
        assert kept == rule.epoch
        assert kept == stopped_epoch(values[:epoch], higher_is_better=True, patience=patience)


@pytest.mark.parametrize(
    ("losses", "patience", "min_gain", "epoch"),
    [
        ([0.9, 0.5, 0.5, 0.7], 0, 0.0, 2),  # the first of equals
        ([0.9, 0.6, 0.7, 0.65, 0.5], 0, 0.0, 5),
        ([0.9, 0.6, 0.7, 0.65, 0.5], 2, 0.0, 2),
        ([0.9, 0.6, 0.7, 0.55, 0.5], 2, 0.0, 5),
        ([0.9, 0.85, 0.80, 0.1], 2, 0.2, 3),  # the best of those that were looked at
        ([0.9, 0.85, 0.65, 0.6, 0.1], 2, 0.2, 5),  # small gains add up to one
        ([NAN, NAN, 0.4], 0, 0.0, 3),
        ([NAN, NAN, 0.4], 2, 0.0, 1),
        ([NAN], 0, 0.0, 1),
        ([math.inf, 0.4], 0, 0.0, 2),
    ],
)
def test_known_curves(losses, patience, min_gain, epoch):
    found = stopped_epoch(losses, higher_is_better=False, patience=patience, min_gain=min_gain)
    assert found == epoch


def test_no_epoch_is_refused():
    with pytest.raises(ArgumentError, match="values: expected the metric after each epoch, got no"):
        stopped_epoch([], higher_is_better=True)


def test_the_setting_comes_back_from_toml_and_counts():
    recipe = override(load("digits"), {"stopping.patience": 5, "stopping.min_gain": 0.01})
    assert recipe.stopping == StoppingSpec(5, 0.01)
    assert loads(dumps(recipe)) == recipe
    assert recipe.digest != override(recipe, {"stopping.min_gain": 0}).digest


def test_said_or_not_all_epochs_are_looked_at_under_the_same_digest():
    recipe = override(load("digits"), {"stopping.patience": 0})
    assert recipe == load("digits")
    assert "stopping" not in dumps(recipe)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patience", -1, "stopping.patience: expected after how many epochs .* got -1"),
        ("patience", 2.0, "stopping.patience: expected after how many epochs .* got 2.0"),
        ("patience", True, "stopping.patience: expected after how many epochs .* got True"),
        ("patience", 10**12, "stopping.patience: expected after how many epochs .* got 10000"),
        ("min_gain", -0.1, "stopping.min_gain: expected by how much .* got -0.1"),
        ("min_gain", "nan", "stopping.min_gain: expected by how much .* got nan"),
        ("min_gain", "inf", "stopping.min_gain: expected by how much .* got inf"),
        ("min_gain", [0.1], "stopping.min_gain: expected by how much"),
        ("min_gain", 0.1, "stopping: expected min_gain only with patience above 0, got 0.1"),
        ("patiense", 3, "stopping.patiense: unknown key; did you mean 'patience'"),
    ],
)
def test_what_cannot_be_meant_is_refused(key, value, message):
    with pytest.raises(RecipeError, match=message):
        override(load("digits"), {f"stopping.{key}": value})


def test_per_cent_are_refused_as_the_gain_of_a_fraction():
    changes = {"primary": "val_accuracy", "stopping.patience": 3, "stopping.min_gain": 2}
    with pytest.raises(RecipeError, match="min_gain: expected a fraction below 1, as val_accuracy"):
        override(load("digits"), changes)


def test_a_table_is_wanted():
    with pytest.raises(RecipeError, match="stopping: expected a table, got 5"):
        override(load("digits"), {"stopping": 5})
