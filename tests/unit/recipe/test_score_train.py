"""How many training examples are scored: an optional key that old digests do not know."""

from __future__ import annotations

import pytest

from droplab.errors import RecipeError
from droplab.recipe import builtin_names, dumps, load, loads, override

DIGESTS = {
    "digits": "6e71af5ad666599dd5b11ca53fd0842dc053b9c25ae4e4c24864c0d212ba3db9",
    "fashion-overfit": "ef198dc73cfa23f9e073ab3752e9ddde7d510649a35b4f43907985fe4386f4e1",
    "fashion-tutorial": "be936d6fc9ca2a24259cfe69a4de019a9d39e9e903bb5fdec9c093902869eb35",
    "mnist-mlp": "a7781502cbb7063fb6a89421bdf10a227e38a7200b63538d5ebdd4ce60f55290",
}
"""Of the built-in recipes before the key was there: runs made then must be able to go on."""


@pytest.mark.parametrize("value", [1, 10_000, "all"])
def test_the_setting_comes_back_from_toml(value):
    recipe = override(load("digits"), {"score_train": value})
    assert recipe.score_train == value
    assert loads(dumps(recipe)) == recipe
    assert loads(dumps(recipe)).digest == recipe.digest != load("digits").digest


@pytest.mark.parametrize("name", builtin_names())
def test_where_it_is_not_given_it_is_not_written_and_not_in_the_digest(name):
    assert "score_train" not in dumps(load(name))
    assert load(name).digest == DIGESTS[name]


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "some", [10]])
def test_what_is_no_number_of_examples_is_refused(value):
    with pytest.raises(RecipeError, match=r"score_train: expected how many training examples"):
        override(load("digits"), {"score_train": value})
