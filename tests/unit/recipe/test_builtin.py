"""The built-in recipes are the experiments that the documentation speaks of."""

from __future__ import annotations

from droplab.recipe import builtin_names, load


def test_there_are_four() -> None:
    assert builtin_names() == ("digits", "fashion-overfit", "fashion-tutorial", "mnist-mlp")


def test_fashion_tutorial() -> None:
    recipe = load("fashion-tutorial")
    assert (recipe.data.name, recipe.data.train, recipe.data.validation) == (
        "fashion-mnist",
        None,
        "test",
    )
    assert recipe.model.arguments == {"in_features": 784, "hidden": (256, 128), "classes": 10}
    assert (recipe.optimizer.name, recipe.optimizer.arguments) == ("Adam", {"lr": 1e-3})
    assert (recipe.batch_size, recipe.epochs, recipe.seeds) == (64, 10, tuple(range(8)))
    assert [arm.rates for arm in recipe.arms] == [{}, {"fc2": 0.3, "fc3": 0.3}]


def test_fashion_overfit() -> None:
    recipe, tutorial = load("fashion-overfit"), load("fashion-tutorial")
    assert (recipe.data.name, recipe.data.train, recipe.data.validation) == (
        "fashion-mnist",
        6000,
        10000,
    )
    assert (recipe.model, recipe.optimizer) == (tutorial.model, tutorial.optimizer)
    assert (recipe.batch_size, recipe.epochs, recipe.seeds) == (64, 50, tuple(range(8)))
    assert [arm.rates for arm in recipe.arms] == [
        {},
        {"fc2": 0.3, "fc3": 0.3},
        {"fc2": 0.5, "fc3": 0.2},
        {"fc1": 0.2, "fc2": 0.3, "fc3": 0.2},
    ]
    assert str(recipe.target) == "train_accuracy_running < 0.92 and val_accuracy >= 0.85"


def test_mnist_mlp() -> None:
    recipe = load("mnist-mlp")
    assert (recipe.data.name, recipe.data.train, recipe.data.validation) == ("mnist", None, "test")
    assert recipe.model.arguments == {"in_features": 784, "hidden": (64, 32), "classes": 10}
    assert (recipe.optimizer.name, recipe.optimizer.arguments) == ("Adam", {"lr": 1e-4})
    assert (recipe.batch_size, recipe.epochs, recipe.seeds) == (10, 5, (42,))
    assert [arm.rates for arm in recipe.arms] == [{}, {"fc2": 0.5, "fc3": 0.5}]


def test_digits_needs_no_network_and_keeps_a_test_split() -> None:
    recipe = load("digits")
    assert (recipe.data.name, recipe.data.train, recipe.data.validation) == ("digits", 200, 600)
    assert recipe.model.arguments["in_features"] == 64
