"""The command of a report makes the very same run."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from click.testing import CliRunner

from droplab.cli import run as run_command
from droplab.cli import sweep as sweep_command
from droplab.recipe import Arm, Recipe, load, override
from droplab.report._again import command, command_of
from droplab.study import sweep_recipe


@pytest.fixture
def meant(monkeypatch):
    """Return the recipe that a command line would run, without running it."""
    taken: list[Recipe] = []
    for module in (run_command, sweep_command):
        monkeypatch.setattr(module, "run_and_show", lambda recipe, **options: taken.append(recipe))

    def of(line: str) -> Recipe:
        program, name, *arguments = shlex.split(line)
        assert program == "droplab"
        chosen = {"run": run_command, "sweep": sweep_command}[name]
        CliRunner().invoke(chosen.command, arguments, catch_exceptions=False)
        return taken.pop()

    return of


def changed(name: str = "digits", **changes) -> Recipe:
    return override(load(name), changes)


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (load("fashion-overfit"), "droplab run fashion-overfit"),
        (changed(seeds=[0, 1, 2]), "droplab run digits --seeds 0,1,2"),
        (changed(seeds=[5]), "droplab run digits --seeds 5,"),
        (changed(epochs=3), "droplab run digits --epochs 3"),
        (changed("mnist-mlp", seeds=[7], epochs=1), "droplab run mnist-mlp --seeds 7, --epochs 1"),
        (sweep_recipe(load("digits"), [0.1, 0.25]), "droplab sweep digits --rates 0.1,0.25"),
        (sweep_recipe(changed(epochs=2), [0.5], sites=["fc3"]), "droplab sweep digits --rates 0.5"),
        (
            sweep_recipe(changed(seeds=[0, 1]), [0.1, 0.5], independent=True),
            "droplab sweep digits --rates 0.1,0.5 --sites fc2,fc3 --independent --seeds 0,1",
        ),
        (sweep_recipe(changed("mnist-mlp"), [0.5]), "droplab sweep mnist-mlp --rates 0.5"),
        (sweep_recipe(load("digits"), [0.3], kind="alpha"), "droplab sweep digits --rates 0.3"),
    ],
)
def test_the_command_means_the_same_recipe(recipe, line, meant):
    found, note = command(recipe)
    assert found.startswith(line)
    assert note == ""
    assert meant(found).digest == recipe.digest


@pytest.mark.parametrize(
    "recipe",
    [
        changed(batch_size=40),
        changed(**{"optimizer.lr": 0.1}),
        replace(load("digits"), name="mine"),
        replace(load("digits"), arms=(Arm("none"), Arm("0.4", {"fc2": 0.4}))),
        replace(sweep_recipe(load("digits"), [0.3]), batch_size=40),
        replace(sweep_recipe(load("digits"), [0.3]), name="mine-sweep"),
        replace(
            sweep_recipe(load("digits"), [0.3]),
            arms=(Arm("none"), Arm("0.3", {"fc2": 0.3, "fc3": 0.31})),
        ),
    ],
)
def test_any_other_recipe_is_run_from_its_file(recipe):
    found, note = command(recipe)
    assert found == "droplab run recipe.toml"
    assert "recipe.toml in the run's folder" in note


@pytest.mark.parametrize("name", ["digits", "mine"])
def test_the_plan_of_the_run_is_followed_if_it_is_there(tmp_path, meant, name):
    class Result:
        path, recipe = tmp_path, replace(load("digits"), name=name)

    assert command_of(Result()) == command(Result.recipe)
    (tmp_path / "plan.json").write_text('{"threads": 1}')
    line, note = command_of(Result())
    assert line == f"{command(Result.recipe)[0]} --plan plan.json"
    assert "plan.json lies in the run's folder" in note
    if name == "digits":
        assert meant(line) == Result.recipe
    else:
        assert "recipe.toml in the run's folder" in note
