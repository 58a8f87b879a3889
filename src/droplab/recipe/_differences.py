"""What two recipes differ in, key by key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from droplab.recipe._digest import WORDS
from droplab.recipe._text import dumps
from droplab.recipe.recipe import Recipe

_LETTERS = 80


@dataclass(frozen=True)
class Differing:
    """One value that two recipes do not share.

    Args:
        key: Dotted, as `override` takes it; arms go by their names.
        before: What the first has, as text; "nothing" where the key is not there.
        after: What the second has.
    """

    key: str
    before: str
    after: str


def differences(before: Recipe, after: Recipe) -> list[Differing]:
    """Return every value in which two recipes differ, words for people aside.

    Args:
        before: A recipe.
        after: Another.

    Example:
        >>> from droplab.recipe import load, override
        >>> differences(load("digits"), override(load("digits"), {"epochs": 3}))
        [Differing(key='epochs', before='60', after='3')]
    """
    first, second = (dict(_leaves(tomllib.loads(dumps(each)))) for each in (before, after))
    keys = [*first, *(key for key in second if key not in first)]
    return [
        Differing(key, _short(first.get(key)), _short(second.get(key)))
        for key in keys
        if key not in WORDS and first.get(key) != second.get(key)
    ]


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested tables under a dotted key; arms go by their names."""
    for key, value in table.items():
        inner = _by_name(value) if key == "arms" and not prefix else value
        if isinstance(inner, dict) and inner:
            yield from _leaves(cast("dict[str, Any]", inner), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _by_name(arms: list[dict[str, Any]]) -> dict[str, Any]:
    without: dict[str, Any] = {"rates": {}}
    return {arm["name"]: without | arm for arm in arms}


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."
