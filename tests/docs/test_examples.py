"""The examples in the pages on recipes and data run, and their TOML is what it says it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from droplab.recipe import builtin_names, load, loads

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("recipes.md", "data.md")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python(page: str) -> None:
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(block, {})


@pytest.mark.parametrize("page", PAGES)
def test_toml(page: str) -> None:
    """A whole recipe loads as it stands; a part of one in place of the same part of `digits`."""
    found = blocks(page, "toml")
    assert found
    for block in found:
        table = tomllib.loads(block)
        if "arms" in table:
            assert loads(block, name="x").target
        else:
            rest = "epochs = 1\nbatch_size = 1\narms = [{name = 'none'}]\nmodel.path = 'mlp'\n"
            data = "" if "data" in table else "data.name = 'digits'\n"
            assert loads(f"{rest}optimizer.name = 'Adam'\n{data}{block}", name="x").data.source


def test_every_built_in_recipe_is_on_the_page() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for name in builtin_names():
        assert f"`{name}`: " in text
        assert load(name).epochs
