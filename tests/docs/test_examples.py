"""The examples in the pages on recipes and data run, and their TOML is what it says it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from droplab.recipe import builtin_names, load, loads

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("recipes.md", "data.md")
TOOLS = ("optuna", "mlflow", "tensorboard")
"""What results come from; the examples on them run where it is installed."""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", [*PAGES, "judge.md", "search.md", "uncertainty.md"])
def test_python(page: str) -> None:
    found = [block for block in blocks(page, "python") if not of_tool(block)]
    assert found
    names: dict[str, Any] = {}  # a page is read from top to bottom
    for block in found:
        exec(block, names)


def of_tool(block: str) -> list[str]:
    return [tool for tool in TOOLS if re.search(rf"^(import|from) {tool}\b", block, re.MULTILINE)]


@pytest.mark.filterwarnings("default")  # of the tools, which are not ours
@pytest.mark.parametrize("tool", TOOLS)
def test_exports_of_other_tools(tool: str) -> None:
    (block,) = [each for each in blocks("judge.md", "python") if of_tool(each) == [tool]]
    pytest.importorskip(tool)
    # MLflow keeps a file of this folder open for whoever has a file of that name
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["verdict"].headline.startswith("Dropout helps ")
    assert names["verdict"].chosen == "0.5"
    assert [arm.seeds for arm in names["verdict"].arms] == [tuple(range(8))] * 3


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
