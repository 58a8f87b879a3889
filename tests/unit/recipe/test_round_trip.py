"""TOML out and in again, and what the digest sees: properties over random recipes."""

from __future__ import annotations

import json
import pickle
import random
import tomllib
from typing import Any

import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab.recipe import (
    METRICS,
    Arm,
    Condition,
    DataSpec,
    GroupSpec,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    SchedulerSpec,
    StoppingSpec,
    Target,
    dumps,
    loads,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
filled = texts.filter(lambda text: text.strip())
labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .+_-]{0,9}[A-Za-z0-9]", fullmatch=True)
rates = st.one_of(st.just(1.0), st.integers(1, 65535).map(lambda n: n / 65536))
counts = st.integers(1, 10**6)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(filled, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(
    st.one_of(filled, st.sampled_from(["name", "path", "arguments"])), values
)
validations = st.one_of(counts, st.just("test"), st.none())
data = st.one_of(
    st.builds(DataSpec, name=filled, train=st.none() | counts, validation=validations),
    st.builds(DataSpec, name=filled, validation=counts, resample=st.booleans()),
    st.builds(
        DataSpec,
        path=filled,
        arguments=arguments,
        format=st.sampled_from([None, "npz", "images"]),
        validation=validations,
        in_memory=st.sampled_from(["auto", True, False]),
    ),
    st.builds(DataSpec, function=st.just("a.b:C.d"), arguments=arguments, validation=validations),
)
conditions = st.builds(
    Condition,
    st.sampled_from(list(METRICS)),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.floats(0, 1),
)


@st.composite
def arm_lists(draw: st.DrawFn) -> tuple[Arm, ...]:
    names = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    drops = st.dictionaries(filled, rates, min_size=1, max_size=3)
    others = [Arm(name, draw(drops), draw(st.none() | filled)) for name in names[1:]]
    arms = [Arm(names[0], draw(st.sampled_from([{}, {"fc2": 0.0}]))), *others]
    return tuple(draw(st.permutations(arms)))


groups = st.builds(
    GroupSpec,
    filled | st.lists(filled, min_size=1, max_size=2),
    st.dictionaries(filled, values, min_size=1, max_size=2),
)
recipes = st.builds(
    Recipe,
    name=labels,
    title=texts,
    story=texts,
    hints=st.lists(texts, max_size=3),
    data=data,
    model=st.builds(ModelSpec, st.sampled_from(["mlp", "a.b:C"]), arguments),
    optimizer=st.builds(OptimizerSpec, filled, arguments, st.none() | st.lists(groups, max_size=2)),
    epochs=counts,
    batch_size=counts,
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
    arms=arm_lists(),
    target=st.none() | st.builds(Target, st.lists(conditions, min_size=1, max_size=4)),
    primary=st.sampled_from(list(METRICS)),
    clip=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
    scheduler=st.none()
    | st.builds(SchedulerSpec, filled, arguments, st.sampled_from([None, "step", "epoch"])),
    looks=st.sampled_from([1, 2]),
    stopping=st.just(StoppingSpec())
    | st.builds(StoppingSpec, counts, st.floats(0, 1, exclude_max=True)),
    accumulate=st.none() | counts,
    precision=st.sampled_from([None, "bfloat16"]),
    margin=st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def shuffled(value: Any, rng: random.Random) -> Any:
    """Return a TOML table with its keys in another order and whole floats as integers or back."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


@quick
@given(recipes, st.integers(0, 99), labels, texts)
def test_toml_is_exact_and_the_digest_sees_no_order_no_spelling_and_no_words(
    recipe: Recipe, seed: int, name: str, words: str
) -> None:
    """Properties of one recipe, which takes longer to draw than to look at."""
    written = dumps(recipe)
    again = loads(written)
    assert again == recipe
    assert again.digest == recipe.digest
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    table = shuffled(tomllib.loads(written), random.Random(seed))
    assert loads(tomli_w.dumps(table)).digest == recipe.digest
    told = tomllib.loads(written) | {"name": name, "title": words, "story": words}
    assert loads(tomli_w.dumps(told | {"hints": [words]})).digest == recipe.digest


@quick
@given(recipes, recipes)
def test_other_experiments_have_other_digests(one: Recipe, two: Recipe) -> None:
    def question(recipe: Recipe) -> str:
        table = tomllib.loads(dumps(recipe))
        for key in ("name", "title", "story", "hints"):
            table.pop(key, None)
        # what is left out may as well be said
        table["data"].setdefault("validation", "test")
        if recipe.scheduler is not None:
            table["scheduler"]["every"] = recipe.scheduler.unit
        return json.dumps(shuffled(table, random.Random(0)), sort_keys=True)

    assert (question(one) == question(two)) == (one.digest == two.digest)


def test_every_setting_changes_the_digest() -> None:
    text = """
        epochs = 3
        batch_size = 32
        seeds = [0, 1]
        primary = "val_loss"
        data = {path = "a", train = 9, validation = 5, format = "npz", arguments = {x = 1}}
        model = {path = "mlp", hidden = [3]}
        optimizer = {name = "Adam", lr = 0.1}
        clip = 1.0
        scheduler = {name = "StepLR", step_size = 2}
        target = {val_loss = "< 2"}
        arms = [{name = "none"}, {name = "half", rates = {fc2 = 0.5}, kind = "alpha"}]
    """
    changes = [
        ("epochs = 3", "epochs = 4"),
        ("batch_size = 32", "batch_size = 33"),
        ("[0, 1]", "[0, 2]"),
        ('"val_loss"', '"gap"'),
        ('path = "a"', 'path = "b"'),
        ("train = 9", "train = 8"),
        ("train = 9, ", ""),
        ("validation = 5", 'validation = "test"'),
        ('format = "npz"', 'format = "npy"'),
        ("x = 1", "x = true"),
        ("train = 9", "train = 9, in_memory = false"),
        ("train = 9", "train = 9, resample = true"),
        ("clip = 1.0", "clip = 1.0\n        looks = 2"),
        ('path = "mlp"', 'path = "mlb"'),
        ("[3]", "[4]"),
        ('"Adam"', '"AdamW"'),
        ("lr = 0.1", "lr = 0.2"),
        ("lr = 0.1", "lr = 0.1, groups = [{match = '*.bias', lr = 1}]"),
        ("lr = 0.1", "lr = 0.1, groups = [{match = '*.weight', lr = 1}]"),
        ("lr = 0.1", "lr = 0.1, groups = [{match = '*.bias', lr = 2}]"),
        ("clip = 1.0", "clip = 1.5"),
        ("clip = 1.0", ""),
        ("clip = 1.0", "clip = 1.0\n accumulate = 2"),
        ("clip = 1.0", "clip = 1.0\n precision = 'bfloat16'"),
        ('"StepLR"', '"ExponentialLR"'),
        ("step_size = 2", "step_size = 3"),
        ("step_size = 2", 'step_size = 2, every = "step"'),
        ('scheduler = {name = "StepLR", step_size = 2}', ""),
        ("< 2", "<= 2"),
        ('{name = "half"', '{name = "hulf"'),
        ("0.5", "0.25"),
        ('"alpha"', '"beta"'),
    ]
    digests = {loads(text, name="x").digest}
    for old, new in changes:
        assert old in text
        digests.add(loads(text.replace(old, new), name="x").digest)
    assert len(digests) == len(changes) + 1


def test_the_digest_of_a_known_recipe_is_what_it_was() -> None:
    """A digest names stored runs, so it may not change from version to version."""
    recipe = Recipe(
        name="x",
        data=DataSpec("digits", train=200, validation=600),
        model=ModelSpec("mlp", {"in_features": 64, "hidden": [128, 64]}),
        optimizer=OptimizerSpec("Adam", {"lr": 0.003}),
        epochs=60,
        batch_size=20,
        arms=(Arm("none"), Arm("half", {"fc2": 0.5})),
    )
    assert recipe.digest == "943f178a044f73af87222dbdfb61c2cf0c117bd7bbd3dc1b7c9a060f9c457130"


def test_what_a_setting_is_if_left_out_has_the_digest_of_saying_so() -> None:
    text = """
        name = "left out"
        epochs = 3
        batch_size = 32
        data = {path = "a"}
        model = {path = "mlp"}
        optimizer = {name = "Adam"}
        scheduler = {name = "StepLR", step_size = 2}
        arms = [{name = "none"}]
    """
    for one, two in (
        ('path = "a"', 'path = "a", validation = "test"'),
        ("step_size = 2", 'step_size = 2, every = "epoch"'),
    ):
        assert loads(text).digest == loads(text.replace(one, two)).digest
    cycle = text.replace('"StepLR", step_size = 2', '"OneCycleLR", max_lr = 0.1')
    by_step = cycle.replace("0.1", '0.1, every = "step"')
    by_epoch = cycle.replace("0.1", '0.1, every = "epoch"')
    assert loads(cycle).digest == loads(by_step).digest != loads(by_epoch).digest
