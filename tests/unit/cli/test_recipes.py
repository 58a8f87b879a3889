"""`droplab recipes`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from droplab.cli.recipes import command
from droplab.errors import RecipeError
from droplab.recipe import builtin_names, load, loads


def run(*args: str) -> str:
    result = CliRunner().invoke(command, args, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.output


def test_list() -> None:
    shown = run("list")
    for name in builtin_names():
        assert name in shown
        assert load(name).title in shown
    document = json.loads(run("list", "--json"))
    assert [item["name"] for item in document] == list(builtin_names())
    assert document[0]["digest"] == load(document[0]["name"]).digest


@pytest.mark.parametrize("name", builtin_names())
def test_show_prints_title_story_hints_and_arms(name: str) -> None:
    recipe, shown = load(name), " ".join(run("show", name).split())
    for text in (recipe.title, recipe.story, *recipe.hints):
        assert " ".join(text.split()) in shown
    assert "What may be changed" in shown
    for arm in recipe.arms:
        assert arm.name in shown


def test_show_says_what_each_arm_drops() -> None:
    lines = [line.split() for line in run("show", "fashion-overfit").splitlines()]
    start = lines.index(["arm", "fc1", "fc2", "fc3", "kind"])
    assert lines[start + 1 : start + 5] == [
        ["none", "0", "0", "0", "dropout"],
        ["0.3-0.3", "0", "0.3", "0.3", "dropout"],
        ["0.5-0.2", "0", "0.5", "0.2", "dropout"],
        ["input", "0.2", "0.3", "0.2", "dropout"],
    ]


def test_show_speaks_json_and_toml() -> None:
    document = json.loads(run("show", "digits", "--json"))
    assert document["digest"] == load("digits").digest
    assert [arm["baseline"] for arm in document["arms"]] == [True, False, False, False]
    assert loads(run("show", "digits", "--toml")) == load("digits")


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ("train = 9\nvalidation = 5", "trained on the first 9, validated on the next 5"),
        ("validation = 5", "trained on the training examples, without the last 5"),
        ("validation = 'test'", "all the training examples, validated on the test split"),
    ],
)
def test_show_reads_a_file_and_no_markup_in_it(tmp_path: Path, validation: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f"""
        title = "[red]brackets[/red] stay"
        epochs = 1
        batch_size = 2
        model.path = "mlp"
        optimizer.name = "SGD"
        arms = [{{name = "none"}}, {{name = "a", rates = {{"net.[0]" = 0.5}}}}]
        [data]
        name = "digits"
        {validation}
        """,
        encoding="utf-8",
    )
    shown = run("show", str(path))
    assert "mine: [red]brackets[/red] stay" in shown
    assert "net.[0]" in shown
    assert said in shown


def test_unknown_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean 'digits'"):
        run("show", "digts")
