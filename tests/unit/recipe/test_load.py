"""Where a recipe can be loaded from."""

from __future__ import annotations

from pathlib import Path

import pytest

from droplab.errors import RecipeError
from droplab.recipe import builtin_names, dumps, load, loads


def test_text_gives_every_field(text: str) -> None:
    recipe = load(text)
    assert (recipe.title, recipe.story, recipe.hints) == ("A title", "A story", ("One", "Two"))
    assert (recipe.epochs, recipe.batch_size, recipe.seeds) == (3, 32, (0, 1))
    assert (recipe.data.name, recipe.data.train, recipe.data.validation) == ("digits", 100, 50)
    assert recipe.model.arguments == {"in_features": 64, "hidden": (16, 8)}
    assert (recipe.optimizer.name, recipe.optimizer.arguments) == ("Adam", {"lr": 0.001})
    assert str(recipe.target) == "val_accuracy >= 0.85"
    assert recipe.primary == "val_loss"
    assert recipe.baseline.name == "none"
    assert recipe.arm("half").rates == {"fc2": 0.5, "fc3": 0.25}
    assert recipe.sites == ("fc2", "fc3")


def test_a_file_names_the_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my recipe.toml"
    path.write_text(text, encoding="utf-8")
    assert load(path).name == load(str(path)).name == "my recipe"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(path).epochs == 3


def test_the_name_in_the_file_wins(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.toml"
    path.write_text(f'name = "own"\n{text}', encoding="utf-8")
    assert load(path).name == "own"


def test_a_file_called_like_a_built_in_is_reached_by_its_path(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").write_text(text, encoding="utf-8")
    assert load("digits").epochs == 60
    assert load("./digits").epochs == 3


def test_missing_seeds_are_eight(text: str) -> None:
    assert loads(text.replace("seeds = [0, 1]", ""), name="x").seeds == tuple(range(8))


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_survives_the_round_trip(name: str) -> None:
    recipe = load(name)
    again = loads(dumps(recipe))
    assert again == recipe
    assert again.digest == recipe.digest
    assert recipe.title
    assert recipe.story
    assert recipe.hints


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'digit'; did you mean 'digits'"):
        load("digit")
    with pytest.raises(RecipeError, match="valid names are digits, fashion-overfit"):
        load("zzz.toml")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected the name of a built-in recipe or a path"):
        load(tmp_path)
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"b.toml: expected TOML in UTF-8"):
        load(binary)
    broken = tmp_path / "c.toml"
    broken.write_text("epochs = \n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"^c\.toml: expected TOML.*line 1"):
        load(broken)
    with pytest.raises(RecipeError, match=r"expected the name|cannot read"):
        load("a\0b")
