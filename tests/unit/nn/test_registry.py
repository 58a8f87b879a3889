"""The registry is complete, and its entries tell the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import droplab.nn
from droplab import ops
from droplab.nn import SeededLayer, StochasticLayer
from droplab.testing import LAYERS, Layer

CARDS = Path(__file__).parents[3] / "docs" / "layers.md"
BASES = {SeededLayer, StochasticLayer}

every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))


def test_every_public_layer_is_registered() -> None:
    public = {
        name
        for name in droplab.nn.__all__
        if isinstance(kind := getattr(droplab.nn, name), type)
        and issubclass(kind, nn.Module)
        and kind not in BASES
    }
    assert public == set(LAYERS)


def test_every_random_functional_belongs_to_a_layer() -> None:
    plumbing = {
        "draw_layer_key",
        "frozen_masks",
        "given_keys",
        "keep_mask",
        "make_key",
        "mask_key",
        "masks_are_frozen",
        "next_key",
        "normal",
        "plain_operators",
        "selftest",
        "set_rank",
        "uniform",
    }
    used = {layer.functional for layer in LAYERS.values()} - {None, *droplab.nn.__all__}
    assert set(ops.__all__) - plumbing - {name for name in ops.__all__ if name[0].isupper()} == used


@every_layer
def test_every_layer_has_a_card(layer: Layer) -> None:
    text = CARDS.read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }
    assert layer.card in anchors
    card = re.split(rf"^### {layer.name}$", text, flags=re.MULTILINE)[1].split("\n### ")[0]
    for word in ("**What**", "**Formula**", "**When**", "**Source**", "**Deviations**"):
        assert word in card, f"the card of {layer.name} lacks {word}"


@every_layer
def test_layer_and_functional_cannot_drift_apart(layer: Layer) -> None:
    if layer.apply is None:
        assert layer.functional is None
        return
    inputs = layer.inputs()
    for p in (0.25, 0.5):
        expected = layer.apply(p, 9, *inputs)
        assert torch.equal(layer.build(p, 9)(*inputs), expected)


@every_layer
def test_functional_forms_are_off_when_told(layer: Layer) -> None:
    if layer.functional is None:
        return
    functional = getattr(ops, layer.functional, None) or getattr(droplab.nn, layer.functional)
    parameters = functional.__code__.co_varnames[: functional.__code__.co_argcount]
    assert "training" in parameters
    assert "seed" in functional.__kwdefaults__
    assert "key" in functional.__kwdefaults__


@every_layer
def test_examples_have_no_zeros_and_stay_the_same(layer: Layer) -> None:
    assert all(map(torch.equal, layer.inputs(), layer.inputs()))
    assert layer.inputs()[0].abs().min() > 0.1
