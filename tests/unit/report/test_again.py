"""The command of a report makes the very same run."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from click.testing import CliRunner

from droplab.cli import run as run_command
from droplab.cli import sweep as sweep_command
from droplab.cli._words import command_line
from droplab.recipe import Recipe, dumps, load, override
from droplab.report._again import command_of
from droplab.results import RunResult

FROM_FILE = "droplab run recipe.toml"


@pytest.fixture
def meant(monkeypatch):
    """Return the recipe and arms that a command line would run, and what would be stored."""
    taken: list[tuple[Recipe, tuple[str, ...], str]] = []
    for module in (run_command, sweep_command):
        monkeypatch.setattr(
            module,
            "run_and_show",
            lambda recipe, **o: taken.append((recipe, o.get("arms", ()), command_line())),
        )

    def of(line: str) -> tuple[Recipe, tuple[str, ...], str]:
        program, name, *arguments = shlex.split(line)
        assert program == "droplab"
        chosen = {"run": run_command, "sweep": sweep_command}[name]
        CliRunner().invoke(chosen.command, arguments, catch_exceptions=False)
        return taken.pop()

    return of


def result(place, recipe: Recipe, **notes: str) -> RunResult:
    return RunResult(place, recipe, {}, (), notes=notes)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("droplab run digits", "droplab run digits"),
        ("droplab run digits --quiet --out x --seeds 5,", "droplab run digits --seeds 5,"),
        ("droplab run --epochs 3 digits --json", "droplab run digits --epochs 3"),
        (
            "droplab run digits --arm none --arm 'a b' --set optimizer.lr=0.1 --log-every 5",
            "droplab run digits --arm none --arm 'a b' --set optimizer.lr=0.1 --log-every 5",
        ),
        ("droplab run digits --budget 5m --device cpu --plan measure", "droplab run digits"),
        ("droplab sweep digits --rates 0:0.5:0.1", "droplab sweep digits --rates 0:0.5:0.1"),
        (
            "droplab sweep digits --rates 0.1,0.5 --sites 'fc*' --independent --seeds 2 --quiet",
            "droplab sweep digits --rates 0.1,0.5 --sites 'fc*' --independent --seeds 2",
        ),
    ],
)
def test_what_is_stored_makes_the_same_run(given, stored, meant, tmp_path):
    recipe, arms, words = meant(given)
    assert words == stored
    line, note = command_of(result(tmp_path, recipe, command=words))
    assert (line, note) == (stored, "")
    again, arms_again, _ = meant(line)
    assert again.digest == recipe.digest
    assert arms_again == arms


def test_a_recipe_of_a_file_is_named_as_given_and_found_in_the_folder(meant, tmp_path):
    path = tmp_path / "my recipe.toml"
    path.write_text(dumps(dataclasses.replace(load("digits"), name="mine")), encoding="utf-8")
    recipe, _, words = meant(f"droplab run {shlex.quote(str(path))} --epochs 2")
    line, note = command_of(result(tmp_path, recipe, command=words))
    assert line == f"droplab run '{path}' --epochs 2"
    assert "recipe.toml in the run's folder" in note
    assert meant(line)[0].digest == recipe.digest


def test_the_seeds_that_a_budget_left_are_named(meant, tmp_path):
    recipe = override(load("digits"), {"seeds": [0]})
    for words in ("droplab run digits", "droplab run digits --seeds 4"):
        line, _ = command_of(result(tmp_path, recipe, command=words, budget="{}"))
        assert meant(line)[0].digest == recipe.digest


def test_a_run_without_a_stored_command_is_made_from_its_recipe(tmp_path):
    line, note = command_of(result(tmp_path, load("digits")))
    assert line == FROM_FILE
    assert "recipe.toml in the run's folder" in note


def test_a_sweep_from_python_says_so(tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    line, note = command_of(result(tmp_path, load("digits"), command="droplab.sweep(...)"))
    assert line == "droplab.sweep(...)"
    assert note.startswith("from Python")


@pytest.mark.parametrize("words", ["droplab run digits --epochs 2", ""])
def test_the_plan_of_the_run_is_followed_if_it_is_there(tmp_path, words):
    (tmp_path / "plan.json").write_text('{"threads": 1}')
    line, note = command_of(
        result(tmp_path, load("digits"), **({"command": words} if words else {}))
    )
    assert line == f"{words or FROM_FILE} --plan plan.json"
    assert "plan.json lies in the run's folder" in note


def test_the_command_line_keeps_its_words_with_the_run(tmp_path):
    from droplab.cli import main
    from droplab.results import load as load_run

    arguments = ["run", "digits", "--epochs", "1", "--seeds", "0,", "--arm", "none", "--quiet"]
    with pytest.raises(SystemExit):
        main([*arguments, "--out", str(tmp_path / "run")])
    kept = load_run(tmp_path / "run").notes["command"]
    assert kept == "droplab run digits --arm none --seeds 0, --epochs 1"
