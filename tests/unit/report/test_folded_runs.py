"""A run over folds, in every output: pairs are called folds, and what all arms share is told."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from droplab.cli._outcome import Outcome, show
from droplab.lab._plan import plan_sentence
from droplab.lab._verdict import verdict_view
from droplab.recipe import DataSpec, load
from droplab.report import figure_svg, render, render_markdown
from droplab.report._facts import unchanged
from droplab.verdict import judge

SHAPES = {
    "none": (0.82, 0.452, 0.836, 0.040, 0.986, 0.118),
    "0.3-0.3": (0.58, 0.445, 0.845, 0.105, 0.944, 0.076),
}


@pytest.fixture(scope="module")
def folded(make_run):
    recipe = load("fashion-overfit")
    arms = tuple(arm for arm in recipe.arms if arm.name in SHAPES)
    spec = DataSpec("fashion-mnist", train=300, folds=5)
    recipe = replace(recipe, data=spec, arms=arms, epochs=10, seeds=tuple(range(10)), target=None)
    found = make_run(recipe, SHAPES)
    data = {"train": 240, "validation": 60, "folded": 300, "checksum": "sha256:12ab"}
    return replace(found, notes={**found.notes, "data": json.dumps(data)})


def pairs_named(text):
    """What pairs are called where they are counted or paired."""
    before = r"(?:paired by|over|on every|\d|small dot is one)"
    return set(re.findall(rf"{before} (seeds?|folds?)", text))


def test_every_output_speaks_of_folds(folded):
    verdict = judge(folded)
    console = Console(width=160, record=True, file=io.StringIO())
    show(Outcome(folded, verdict), console)
    outputs = {
        "terminal": console.export_text(),
        "page": re.sub(r"<[^>]+>", " ", render(folded, verdict)),
        "markdown": render_markdown(folded, verdict),
        "picture": figure_svg(folded, verdict),
    }
    for name, text in outputs.items():
        assert "5 folds x 2 repeats" in text.replace("\u00a0", " "), name
        assert not {"seed", "seeds"} & pairs_named(text), name
    for name in ("terminal", "page", "markdown"):
        assert "paired by fold" in outputs[name], name
    assert "is conservative" in outputs["page"]
    assert verdict_view(verdict)["unit"] == "fold"
    assert plan_sentence(folded.recipe, {}).startswith("2 arms x 5 folds x 2 repeats x 10 epochs.")


def test_folds_are_among_what_all_arms_have_in_common(folded):
    facts = {fact.name: fact for fact in unchanged(folded)}
    assert facts["folds"].value == (
        "5 of 300 examples, drawn anew for every repeat: seed s is fold s mod 5 of repeat s div 5"
    )
    assert facts["folds"].digest
    assert "one fold of the training examples for each seed" in facts["validated on"].value
    assert "with the first seed" in facts["data"].value
    without = replace(folded, recipe=replace(folded.recipe, data=DataSpec("digits")))
    assert "folds" not in {fact.name for fact in unchanged(without)}
