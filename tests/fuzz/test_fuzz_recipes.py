"""No recipe, however broken, ends in anything but a recipe or one bounded sentence."""

from __future__ import annotations

from droplab.recipe import builtin_names, dumps, load, loads, override
from droplab.studies import resolve

DIGITS = dumps(load("digits"))
BUILTIN = [dumps(load(name)) for name in builtin_names()]


def test_texts(count, rng, mutate, attempt):
    read = sum(attempt(lambda t=text: _use(t), text) for text in _texts(count, rng, mutate))
    assert read < count  # else nothing was broken


def _texts(count, rng, mutate):
    for _ in range(count):
        yield mutate(rng.choice(BUILTIN) if rng.random() < 0.4 else DIGITS)


def _use(text):
    recipe = loads(text, name="fuzz")
    assert loads(dumps(recipe)) == recipe
    assert recipe.digest
    if recipe.data.name == "digits" and len(recipe.arms) * len(recipe.seeds) < 100:
        resolve(recipe)


def test_settings(count, rng, nasty, attempt):
    recipe = load("digits")
    keys = (
        *("epochs", "seeds", "batch_size", "optimizer.lr", "optimizer.name", "model.hidden"),
        *("arms.none.name", "data.train", "data.validation", "primary", "clip", "scheduler.name"),
        *("target.val_loss", "data.path", "model.path", "arms.none.rates.fc2", "optimizer.betas"),
    )
    for _ in range(count):
        key = rng.choice(keys) if rng.random() < 0.8 else nasty()
        changes = {key: nasty()}
        attempt(lambda c=changes: dumps(override(recipe, c)), changes)
