"""Changing single values, as `--set key=value` does."""

from __future__ import annotations

import pytest

from droplab.errors import RecipeError
from droplab.recipe import Recipe, load, override


@pytest.fixture
def recipe(text: str) -> Recipe:
    return load(text)


def test_values_are_read_as_toml(recipe: Recipe) -> None:
    new = override(
        recipe,
        {
            "optimizer.lr": "0.01",
            "optimizer.betas": "[0.5, 0.9]",
            "epochs": "7",
            "model.hidden": "[32]",
            "data.validation": "test",
            "seeds": (3, 4),
        },
    )
    assert new.optimizer.arguments == {"lr": 0.01, "betas": (0.5, 0.9)}
    assert (new.epochs, new.seeds, new.data.validation) == (7, (3, 4), "test")
    assert new.model.arguments["hidden"] == (32,)
    assert recipe.epochs == 3
    assert new.arms == recipe.arms


def test_arms_go_by_name(recipe: Recipe) -> None:
    assert override(recipe, {"arms.half.rates.fc2": "0.25"}).arm("half").rates["fc2"] == 0.25
    renamed = override(recipe, {"arms.half.name": '"0.5"'})
    assert override(renamed, {'arms."0.5".rates.fc9': 0.125}).arm("0.5").rates["fc9"] == 0.125


def test_another_source_of_data_replaces_the_first(recipe: Recipe) -> None:
    new = override(recipe, {"data.path": "x.npz"})
    assert (new.data.name, new.data.path, new.data.train) == (None, "x.npz", 100)


def test_a_target_can_be_set_where_there_was_none(recipe: Recipe) -> None:
    assert str(override(load("digits"), {"target.val_loss": "< 0.5"}).target) == "val_loss < 0.5"
    assert str(override(recipe, {"target.gap": "< 0.1"}).target) == (
        "val_accuracy >= 0.85 and gap < 0.1"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", "3", r"recipe \(changed\): epoch: unknown key; did you mean 'epochs'"),
        ("epochs", "0", "epochs: expected a whole number"),
        ("epochs", "3\nbatch_size = 4", "epochs: expected a whole number"),
        ("arms.hlaf.rates.fc2", "0.5", "no such arm; did you mean 'half'"),
        ("arms.half.lr", "0.5", "an arm may change nothing but dropout"),
        ("arms.half", "0.5", "expected a key of the arm"),
        ("arms.none.rates.fc2", "0.5", "exactly one baseline"),
        ("epochs.x", "3", "expected a table at epochs, got 3"),
        ("a b", "3", "expected a dotted key"),
        ("", "3", "expected a dotted key"),
        ("a=1\nb", "3", "expected a dotted key"),
        ("{", "3", "expected a dotted key"),
    ],
)
def test_refused(recipe: Recipe, key: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        override(recipe, {key: value})
