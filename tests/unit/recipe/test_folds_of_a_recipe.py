"""Folds in a recipe: seeds are whole repeats, and what excludes them is said."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w

from droplab.errors import RecipeError
from droplab.recipe import DataSpec, dumps, load, loads, override

FOLDED = {"data.folds": 5}


def test_seeds_left_out_are_one_repeat():
    recipe = override(load("digits"), FOLDED)
    assert recipe.seeds == (0, 1, 2, 3, 4)
    assert (recipe.data.folds, recipe.data.validation) == (5, None)
    assert loads(dumps(recipe)) == recipe
    table = tomllib.loads(dumps(recipe))
    del table["seeds"]
    assert loads(tomli_w.dumps(table)) == recipe


def test_folds_without_a_number_are_ten():
    recipe = override(load("digits"), {"data.folds": True})
    assert recipe == override(load("digits"), {"data.folds": 10})
    assert (recipe.data.folds, recipe.seeds) == (10, tuple(range(10)))


@pytest.mark.parametrize(
    "seeds", [range(5), range(10), range(40, 50), [5, 6, 7, 8, 9, 1, 0, 2, 4, 3]]
)
def test_whole_repeats_are_taken_wherever_they_begin(seeds):
    assert override(load("digits"), {**FOLDED, "seeds": list(seeds)}).seeds == tuple(seeds)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (
            range(8),
            r"whole repeats of data.folds = 5, the seeds 0 to 4, .* got 8 seeds, of which "
            "5, 6, 7 are no whole repeat; leave seeds out",
        ),
        (range(1, 6), "of which 1, 2, 3, 4, 5 are no whole"),
        ([0, 5, 1, 6, 2, 7, 3, 8, 4, 9], "of which 0, 5, 1, 6, 2 are no whole"),
    ],
)
def test_a_repeat_that_is_not_whole_is_refused(seeds, message):
    with pytest.raises(RecipeError, match=message):
        override(load("digits"), {**FOLDED, "seeds": list(seeds)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"folds": 1},
            "folds: expected how many folds, a whole number from 2 to 10000 or true for 10, got 1",
        ),
        ({"folds": 2.5}, "or true for 10, got 2.5"),
        ({"folds": False}, "or true for 10, got False"),
        ({"folds": "ten"}, "or true for 10, got 'ten'"),
        ({"folds": 5, "validation": 100}, "either folds or validation, got both: with 5 folds"),
        ({"folds": 5, "validation": "test"}, "either folds or validation"),
    ],
)
def test_impossible_folds(given, message):
    with pytest.raises(RecipeError, match=message):
        DataSpec("digits", **given)


def test_folds_and_time_exclude_one_another():
    with pytest.raises(RecipeError, match="either folds or time, got both"):
        DataSpec(path="a.csv", folds=5, arguments={"target": "y", "time": "day"})


def test_folds_take_the_place_of_validation_and_back():
    folded = override(load("digits"), FOLDED)
    back = override(folded, {"data.validation": 100})
    assert (back.data.folds, back.data.validation) == (None, 100)
    with pytest.raises(RecipeError, match="either folds or validation"):
        override(load("digits"), {**FOLDED, "data.validation": 100})
