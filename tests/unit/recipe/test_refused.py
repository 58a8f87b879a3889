"""Every wrong recipe is refused with the place, what was expected, and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from droplab.errors import RecipeError
from droplab.recipe import Arm, Condition, DataSpec, ModelSpec, OptimizerSpec, Recipe, Target, load
from droplab.recipe import loads as _loads


def refuse(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        _loads(text, name="x", where="r.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs = 3",
            "epoch = 3\nepochs = 3",
            "r.toml: epoch: unknown key; did you mean 'epochs'",
        ),
        ('name = "digits"', 'nmae = "digits"\nname = "digits"', "data.nmae: unknown key; did you"),
        ("train = 100", "train = 0", "data.train: expected a whole number of at least 1, got 0"),
        ("train = 100", "train = true", "data.train: expected a whole number .* got True"),
        ("validation = 50", 'validation = "tset"', "data.validation: .*'test'.*got 'tset'"),
        ("train = 100", 'in_memory = "yes"', "data.in_memory: expected 'auto', true or false"),
        ("train = 100", 'path = "a.npz"', "data: expected exactly one of .* got name and path"),
        ('name = "digits"', "", "data: expected exactly one of .*none of them"),
        ('name = "digits"', 'function = "make"', "data: expected an import path .* got 'make'"),
        ("train = 100", 'format = "npz"', "data: expected a format only with path"),
        ('name = "digits"', 'path = "a"\nformat = "xls"', "data.format: expected one of npz, npy"),
        ("train = 100", "arguments = {a = 1}", "data: expected arguments only with path or func"),
        (
            "epochs = 3",
            "epochs = 0",
            "r.toml: epochs: expected a whole number of at least 1, got 0",
        ),
        ("epochs = 3", "epochs = 3.0", "epochs: expected a whole number .* got 3.0"),
        ("epochs = 3", 'epochs = "3"', "epochs: expected a whole number .* got '3'"),
        ("epochs = 3", "", "epochs: this key is required"),
        ("batch_size = 32", "batch_size = -1", "batch_size: expected a whole number .* got -1"),
        ("seeds = [0, 1]", "seeds = []", "seeds: expected at least one seed, got none"),
        ("seeds = [0, 1]", "seeds = [1, 2, 1]", "seeds: expected different seeds, got 1 more than"),
        ("seeds = [0, 1]", "seeds = [-1]", r"seeds\[0\]: expected an integer in \[0, 2\*\*63\)"),
        ("seeds = [0, 1]", "seeds = [true]", r"seeds\[0\]: expected an integer .* got True"),
        ("seeds = [0, 1]", "seeds = 8", "seeds: expected a list, got 8; write it in"),
        (
            'path = "mlp"',
            'path = "a.b"',
            "model: expected an import path .* got 'a.b'; put a colon",
        ),
        ('path = "mlp"', "", "model.path: this key is required"),
        ("hidden = [16, 8]", "hidden = 1979-05-27", "model.hidden: expected a string, number,"),
        ("lr = 0.001", "lr = nan", "optimizer.lr: expected a number, got nan"),
        ("epochs = 3", "epochs = 3\nclip = 0", "clip: expected a norm above 0, got 0; leave it"),
        ("epochs = 3", "epochs = 3\nclip = inf", "clip: expected a norm above 0, got inf"),
        ("epochs = 3", "epochs = 3\nclip = true", "clip: expected a number, got True"),
        ("[target]", "[scheduler]\nstep_size = 2\n[target]", "scheduler.name: this key is req"),
        ("[target]", "[schedule]\nname = 'StepLR'\n[target]", "schedule: .*mean 'scheduler'"),
        (
            "[target]",
            "[scheduler]\nname = 'StepLR'\ngamma = nan\n[target]",
            "scheduler.gamma: expected a number, got nan",
        ),
        ('">= 0.85"', '">= 85"', "target.val_accuracy: .*percentage; did you mean 0.85"),
        ('">= 0.85"', '"above 0.85"', "target.val_accuracy: expected a comparison such as"),
        ('">= 0.85"', '">= x"', "target.val_accuracy: expected a comparison such as"),
        ('">= 0.85"', "0.85", "target.val_accuracy: expected a comparison such as .* got 0.85"),
        (
            "val_accuracy =",
            "val_acuracy =",
            "target.val_acuracy: unknown key; did you mean 'val_acc",
        ),
        ('val_accuracy = ">= 0.85"', "", "target: expected at least one condition, got none"),
        ("epochs = 3", 'epochs = 3\nprimary = "val_los"', "primary: .*; did you mean 'val_loss'"),
        ("fc2 = 0.5", "fc2 = 50", "arms.half.rates.fc2: .*percentage; did you mean 0.5"),
        ("fc2 = 0.5", "fc2 = -0.1", r"arms.half.rates.fc2: .*in \[0, 1\], got -0.1"),
        ("fc2 = 0.5", "fc2 = true", "arms.half.rates.fc2: expected a drop probability"),
        ("fc2 = 0.5", "fc2 = 1e-9", "arms.half.rates.fc2: .* would round to 0"),
        ('"half"', '"none"', "arms: expected different names, got 'none' more than once"),
        ('"half"', '"a/b"', "arms.a/b.name: expected a name of at most 64 letters"),
        ('"half"', "3", r"arms\[1\].name: expected a name in quotes, got 3"),
        ("rates =", "rate =", "arms.half.rate: unknown key; did you mean 'rates'"),
        (
            'name = "none"',
            'name = "none"\nrates = {fc2 = 0.1}',
            "arms: expected exactly one baseline",
        ),
        ("fc2 = 0.5, fc3 = 0.25", "fc2 = 0", r"exactly one baseline.*got 2 \('none', 'half'\)"),
        ('title = "A title"', "title = 3", "title: expected text in quotes, got 3"),
        ('title = "A title"', 'name = ""', "name: expected a name"),
    ],
)
def test_one_problem(text: str, old: str, new: str, message: str) -> None:
    assert old in text
    said = refuse(text.replace(old, new))
    assert re.search(message, said), said
    assert said.startswith("r.toml: ")
    assert "\n" not in said


@pytest.mark.parametrize("key", ["lr = 0.1", "epochs = 9", "optimizer = {}", "weight_decay = 0.1"])
def test_an_arm_may_change_nothing_but_dropout(text: str, key: str) -> None:
    said = refuse(f"{text}\n{key}\n")
    assert "arms.half." in said
    assert "an arm may change nothing but dropout" in said


def test_problems_are_reported_together(text: str) -> None:
    wrong = text.replace("epochs = 3", "epochs = 0").replace("batch_size", "batchsize")
    said = refuse(wrong.replace("fc2 = 0.5", "fc2 = 50").replace(">= 0.85", ">= 85"))
    assert said.startswith("r.toml: 5 problems\n  ")
    for place in ("epochs:", "batch_size: this key", "batchsize: unknown", "fc2:", "val_accuracy:"):
        assert place in said


def test_no_arms_and_no_tables(text: str) -> None:
    assert "arms: this key is required" in refuse(text.partition("[[arms]]")[0])
    assert "arms: expected at least one arm" in refuse(
        "arms = []\n" + text.partition("[[arms]]")[0]
    )
    assert "model: expected a table, got 3" in refuse(
        "model = 3\n" + text.replace("[model]", "[z]")
    )
    twice = text.replace("lr = 0.001", "lr = 0.001\narguments = {lr = 0.1}")
    assert "optimizer.lr: given twice" in refuse(twice)
    flat = text.replace("lr = 0.001", "arguments = 3")
    assert "optimizer.arguments: expected a table, got 3" in refuse(flat)


def test_python_speaks_the_same_words(make: Callable[..., Recipe]) -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: Arm("a", {"fc2": 30}), "Arm: rates.fc2: .*did you mean 0.3"),
        (lambda: Arm("a", lr=3), "Arm: lr: an arm may change nothing but dropout"),  # pyright: ignore[reportCallIssue]
        (lambda: DataSpec(), "DataSpec: expected exactly one of"),
        (lambda: ModelSpec("mlp", {"a": None}), "ModelSpec: arguments.a: .*leave the key out"),
        (lambda: OptimizerSpec(name=""), "OptimizerSpec: name: expected some text"),
        (lambda: Target(()), "Target: expected at least one condition"),
        (lambda: Condition("vall_acc", ">=", 0.5), "metric: expected a metric, got 'vall_acc'"),
        (
            lambda: make(target=Target((Condition("val_acc", ">=", 0.5),))),
            "target: expected a metric, got 'val_acc'; did you mean 'val_accuracy'",
        ),
        (lambda: Condition("gap", "==", 0.5), "op: expected one of >=, <=, >, <, got '=='"),  # pyright: ignore[reportArgumentType]
        (lambda: make(epochs=0), "Recipe: epochs: expected a whole number"),
        (lambda: make(nmae=0), "Recipe: nmae: unknown key; did you mean 'name'"),
        (lambda: make(arms=()), "Recipe: arms: expected at least one arm"),
        (lambda: Recipe("x"), "expected keyword arguments, got 'x'"),  # pyright: ignore[reportCallIssue]
    ]
    for build, message in cases:
        with pytest.raises(RecipeError, match=message):
            build()


def test_a_recipe_cannot_be_changed(make: Callable[..., Recipe]) -> None:
    with pytest.raises(AttributeError):
        make().epochs = 4  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_arm_is_named(make: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match="no arm 'hlaf'; did you mean 'half'"):
        make().arm("hlaf")


def test_infinite_is_a_number_of_an_optimizer(text: str) -> None:
    assert load(text.replace("lr = 0.001", "lr = inf")).optimizer.arguments["lr"] == float("inf")


def test_a_target_is_met_only_by_numbers() -> None:
    condition = Condition("val_loss", "<", 0.5)
    assert condition.met(0.4)
    assert not condition.met(0.5)
    assert not condition.met(float("nan"))
    assert Condition("val_loss", ">", 3.5).met(4)
