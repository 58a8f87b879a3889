"""Changing single values of a recipe, as `--set key=value` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from droplab.documents import DocumentError, parse_toml
from droplab.errors import RecipeError, nearest, quote
from droplab.recipe._document import from_document, to_document
from droplab.recipe.data import TABLE_KEYS, stops_on_fold
from droplab.recipe.recipe import Recipe

_SOURCES = ("name", "path", "function")
_VALIDATED = ("validation", "folds")
"""They exclude one another, as the sources do: the new one takes the place of the other."""


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with some values changed.

    Args:
        recipe: The recipe to start from.
        changes: Dotted key -> value, as in TOML: "optimizer.lr", "epochs", "arms.half.rates.fc2".
            An arm goes by its name; a part that has a dot in it is quoted, `arms."0.3".rates.fc2`.
            A text is read as a TOML value, and taken as it is if it is none.

    Returns:
        A new recipe, checked like any other.

    Raises:
        RecipeError: If a key cannot be read or names nothing, or a value is impossible.

    Example:
        >>> from droplab.recipe import load
        >>> override(load("digits"), {"optimizer.lr": "0.01", "epochs": "3"}).epochs
        3
    """
    document = to_document(recipe)
    paths = [_path(key) for key in changes]
    for one, other in (_VALIDATED, _VALIDATED[::-1]):
        if ["data", one] in paths and ["data", other] not in paths:
            document["data"].pop(other, None)
    if ["data", "folds"] in paths and ["seeds"] not in paths:
        del document["seeds"]  # they were units of other folds, or of none
    decided = stops_on_fold(None, recipe.data.folds, recipe.primary)
    if recipe.data.stop_on_fold == decided:  # as nobody need have said, so it is decided again
        document.get("data", {}).pop("stop_on_fold", None)
    for key, value in changes.items():
        _set(document, key, _value(value) if isinstance(value, str) else value)
    return from_document(document, where=f"{recipe.name} (changed)")


def _value(text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
    except DocumentError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _path(key: str) -> list[str]:
    try:
        table: Any = parse_toml(f"{key} = 0")
    except DocumentError:
        table = {}
    path: list[str] = []
    while isinstance(table, dict):
        if len(cast("dict[str, Any]", table)) != 1:
            raise RecipeError(
                f"{key}: expected a dotted key such as optimizer.lr; put a part that has a dot or "
                'a space in it in quotes: arms."0.3".rates.fc2'
            )
        ((step, table),) = cast("dict[str, Any]", table).items()
        path.append(step)
    return path


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    path = _path(key)
    here: Any = document
    for depth, step in enumerate(path[:-1]):
        if isinstance(here, list):
            here = _arm(cast("list[dict[str, Any]]", here), step)
        elif isinstance(here, dict):
            here = cast("dict[str, Any]", here).setdefault(step, {})
        if not isinstance(here, (dict, list)):
            raise RecipeError(
                f"{key}: expected a table at {'.'.join(path[: depth + 1])}, got {quote(here)}"
            )
    if isinstance(here, list):
        _arm(cast("list[dict[str, Any]]", here), path[-1])
        raise RecipeError(f"{key}: expected a key of the arm, such as {key}.rates.fc2")
    if path[:-1] == ["data"] and path[-1] in _SOURCES:
        # The three exclude one another, so giving one is a change of source; what was said of the
        # old one does not hold for it.
        for other in (*_SOURCES, "format", "arguments", *TABLE_KEYS):
            cast("dict[str, Any]", here).pop(other, None)
    here[path[-1]] = value


def _arm(arms: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for arm in arms:
        if arm["name"] == name:
            return arm
    raise RecipeError(f"arms.{name}: no such arm{nearest(name, [arm['name'] for arm in arms])}")
