"""What "See it" shows is what a run drops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from droplab import recipe, studies
from droplab.lab import _masks_network as see
from droplab.recipe import Arm, Recipe
from droplab.train import ExecutionPlan, fit

RATES = {"fc1": 0.2, "fc2": 0.5, "fc3": 0.3}


def unpack(text: str, width: int) -> list[bool]:
    return [digit == "1" for digit in f"{int(text, 16):0{4 * len(text)}b}"[:width]]


def shown(rates: dict[str, float], **where: int) -> dict[str, list[list[bool]]]:
    """Return every site's masks, step by step."""
    found = see.masks("digits", 3, rates, **where)
    return {
        layer["site"]: [unpack(mask, layer["width"]) for mask in layer["masks"]]
        for layer in found["layers"]
        if "masks" in layer
    }


@pytest.fixture(scope="session")
def digits() -> Recipe:
    arms = (Arm("none"), Arm("every", RATES))
    return replace(recipe.load("digits"), arms=arms, seeds=(3,), epochs=2)


@pytest.fixture(scope="session")
def trained(digits) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Train for two epochs, and keep what goes into every site and what comes out of it."""
    experiment = studies.resolve(digits)
    plan = ExecutionPlan(threads=1, matmul="highest", captured=False)
    replica = experiment.executor([digits.arm("every")], [3], plan)
    taken: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def watch(name: str, layer: nn.Module) -> None:
        before: list[Tensor] = []
        after = taken.setdefault(name, [])

        def first(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            before.append(inputs[0].detach().clone())

        def last(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                after.append((before[-1], inputs[0].detach().clone()))

        layer.register_forward_pre_hook(first, prepend=True)
        layer.register_forward_pre_hook(last)

    for name in replica.applied.names:
        watch(name, replica.model.get_submodule(name))
    list(
        fit(
            replica,
            experiment.splits.train,
            experiment.splits.validation,
            seeds=(3,),
            epochs=digits.epochs,
            batch_size=digits.batch_size,
            plan=plan,
        )
    )
    return taken


@pytest.fixture
def no_data(monkeypatch, tmp_path) -> Iterator[None]:
    """A machine on which no data set was ever fetched."""
    monkeypatch.setenv("DROPLAB_DATA", str(tmp_path))
    see.example_image.cache_clear()
    yield
    see.example_image.cache_clear()


@pytest.mark.parametrize("example", [0, 7, 19])
def test_the_masks_are_those_that_training_dropped(trained, digits, example):
    steps = 2 * 10
    masks = shown(RATES, step=0, steps=steps, example=example)
    assert set(masks) == set(RATES)
    for site, p in RATES.items():
        assert len(trained[site]) == steps
        for step, (before, after) in enumerate(trained[site]):
            keep = torch.tensor(masks[site][step])
            came = torch.where(keep, before[example] / (1 - p), 0.0)
            assert torch.allclose(after[example], came, rtol=1e-4)
            # A unit that a ReLU has set to 0 says nothing: enough of them must say something.
            assert (before[example] > 0).sum() > 10


def test_a_population_drops_the_same(digits):
    experiment = studies.resolve(digits)
    population = experiment.population([digits.arm("none"), digits.arm("every")], [3])
    population.set_step(4)
    found = see.network("digits", 3)
    for site in range(3):
        assert torch.equal(population.keys[0, site], found.keys(site, 4, 1)[0])


def test_asking_for_later_steps_gives_the_same_masks():
    every = shown(RATES, step=0, steps=12, example=2)
    later = shown(RATES, step=9, steps=3, example=2)
    assert later == {site: masks[9:] for site, masks in every.items()}


def test_a_higher_rate_drops_what_a_lower_one_drops_and_more():
    low = shown({"fc2": 0.3}, step=5, steps=4, example=0)["fc2"]
    high = shown({"fc2": 0.6}, step=5, steps=4, example=0)["fc2"]
    for some, fewer in zip(low, high, strict=True):
        assert all(a or not b for a, b in zip(some, fewer, strict=True))
        assert sum(some) > sum(fewer)


def test_the_count_of_dropped_units_is_that_of_the_mask():
    found = see.masks("digits", 0, RATES, step=0, steps=8, example=0)
    for layer in found["layers"][:3]:
        for mask, dropped in zip(layer["masks"], layer["dropped"], strict=True):
            assert dropped == unpack(mask, layer["width"]).count(False)


def test_sites_without_a_rate_have_no_masks():
    found = see.masks("digits", 0, {}, step=0, steps=1, example=0)
    assert [layer["width"] for layer in found["layers"]] == [64, 128, 64, 10]
    assert not any("masks" in layer for layer in found["layers"])


@pytest.mark.parametrize("keep", [[True], [False] * 9, [True, False, True, True, False]])
def test_a_mask_in_digits_reads_back(keep):
    assert unpack(see.as_hex(torch.tensor(keep)), len(keep)) == keep


def test_outputs_are_those_of_the_model_under_its_masks(digits):
    found = see.outputs("digits", 3, RATES, layer="fc3", unit=4, count=40)
    replica = studies.resolve(digits).replica(digits.arm("every"), 3)
    image, _ = see.example_image("digits", 3)
    values = []
    with torch.no_grad():
        for step in range(40):
            replica.applied.set_step(step)
            values.append(float(replica.model(image)[0, 4]))
        plain = float(replica.model.eval()(image)[0, 4])
    assert found["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert found["sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert found["eval"] == pytest.approx(plain, rel=1e-5)
    assert sum(found["counts"]) == 40


def test_the_strongest_output_is_shown_unless_one_is_named():
    found = see.outputs("digits", 0, {"fc2": 0.5}, layer="fc2", unit=None, count=16)
    others = [
        see.outputs("digits", 0, {"fc2": 0.5}, layer="fc2", unit=unit, count=16)["eval"]
        - float(see.network("digits", 0).layer("fc2").bias[unit].detach())
        for unit in range(64)
    ]
    assert found["unit"] == int(np.abs(others).argmax())


def test_the_scale_keeps_the_mean_at_the_eval_output():
    found = see.outputs("digits", 0, {"fc2": 0.5}, layer="fc2", unit=0, count=1000)
    # Five standard errors: false in one of two million seeds, and this seed is fixed.
    assert abs(found["mean"] - found["eval"]) < 5 * found["sd"] / 1000**0.5
    bias = float(see.network("digits", 0).layer("fc2").bias[0].detach())
    assert found["unscaled"] - bias == pytest.approx(0.5 * (found["mean"] - bias))


@pytest.mark.parametrize(
    ("rates", "layer", "words"),
    [
        ({}, "fc2", "Nothing is dropped"),
        ({"fc3": 0.5}, "fc2", "Nothing is dropped"),
        ({"fc2": 1.0}, "fc2", "only its bias"),
        ({"fc2": 0.5}, "fc2", "= 2, so the mean"),
        ({"fc2": 0.5}, "fc3", "earlier ReLU"),
    ],
)
def test_it_is_said_what_the_scale_does(rates, layer, words):
    found = see.outputs("digits", 0, rates, layer=layer, unit=0, count=16)
    assert words in found["said"]
    if words == "Nothing is dropped":
        assert found["sd"] == 0
        assert found["mean"] == pytest.approx(found["eval"], rel=1e-6)
    if words == "only its bias":
        assert found["unscaled"] is None


def test_no_request_changes_what_others_are_answered():
    def ask() -> list[object]:
        return [
            see.masks("digits", 1, RATES, step=3, steps=2, example=1),
            see.outputs("digits", 1, {"fc2": 0.5}, layer="fc2", unit=1, count=16),
        ]

    first = ask()
    state = torch.get_rng_state()
    see.outputs("digits", 1, {"fc1": 0.9, "fc3": 0.2}, layer="fc3", unit=0, count=32)
    assert ask() == first
    assert torch.equal(torch.get_rng_state(), state)


def test_every_built_in_recipe_can_be_seen(no_data):
    for name in recipe.builtin_names():
        found = see.masks(name, 0, {"fc2": 0.5}, step=0, steps=2, example=0)
        assert found["layers"][1]["site"] == "fc2"


def test_data_that_is_not_there_is_not_fetched(no_data):
    found = see.outputs("mnist-mlp", 0, {"fc2": 0.5}, layer="fc2", unit=0, count=16)
    assert found["input"] == "an image of noise, since mnist is not on this machine"
    assert found["sd"] > 0
