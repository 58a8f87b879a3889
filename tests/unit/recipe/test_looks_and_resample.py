"""How often a verdict is looked at, and splits that are drawn anew: what a recipe may say."""

from __future__ import annotations

import pytest

from droplab.errors import RecipeError
from droplab.recipe import DataSpec, dumps, load, loads, override

DIGITS = load("digits")


def test_one_look_is_usual_and_two_share_5_percent():
    assert (DIGITS.looks, DIGITS.level) == (1, 0.95)
    twice = override(DIGITS, {"looks": 2})
    assert (twice.looks, twice.level) == (2, 0.975)
    assert twice.digest != DIGITS.digest
    assert loads(dumps(twice)) == twice
    assert override(twice, {"looks": 1}).digest == DIGITS.digest
    assert "looks" not in dumps(DIGITS)


@pytest.mark.parametrize("looks", [0, 3, 1.5, True, "two", -1])
def test_other_looks_are_refused(looks):
    with pytest.raises(RecipeError, match="looks: expected how often the verdict is looked at"):
        override(DIGITS, {"looks": looks})


def test_splits_may_be_drawn_anew():
    anew = override(DIGITS, {"data.resample": True})
    assert anew.data.of_seed
    assert not DIGITS.data.of_seed
    assert anew.digest != DIGITS.digest
    assert loads(dumps(anew)) == anew
    assert override(anew, {"data.resample": False}).digest == DIGITS.digest
    assert "drawn anew with each seed" in anew.data.sentence
    table = DataSpec(path="a.csv", resample=True, arguments={"target": "y"})
    assert table.sentence == "a.csv: y, validated on rows that are drawn anew with each seed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resample": 1, "validation": 5}, "resample: expected true or false, got 1"),
        ({"resample": "yes", "validation": 5}, "expected true or false, got 'yes'"),
        ({"resample": True, "folds": 5}, "either folds or resample, got both"),
        ({"resample": True}, "how many training examples to validate on.* got nothing"),
        ({"resample": True, "validation": "test"}, "a split of its own stays as it is"),
    ],
)
def test_impossible_draws(given, message):
    with pytest.raises(RecipeError, match=message):
        DataSpec("digits", **given)


def test_time_and_draws_exclude_one_another():
    with pytest.raises(RecipeError, match="either time or resample, got both"):
        DataSpec(path="a.csv", resample=True, arguments={"target": "y", "time": "day"})
