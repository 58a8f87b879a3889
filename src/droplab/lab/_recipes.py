"""The built-in recipes, as the page shows them; without torch, so that it opens at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from droplab.errors import nearest, quote
from droplab.lab import _limits as limits
from droplab.recipe import Recipe, builtin_names, load


@cache
def built_in() -> dict[str, Recipe]:
    """Return the recipes that a request may name: never a file."""
    return {name: load(name) for name in builtin_names()}


def find(name: Any) -> Recipe:
    """Return the built-in recipe called `name`.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(name, str) or name not in built_in():
        raise ValueError(
            f"expected the name of a built-in recipe, got {quote(name)}"
            f"{nearest(str(name), built_in())}"
        )
    return built_in()[name]


def listing() -> dict[str, Any]:
    """Return every built-in recipe, and how large a run may be."""
    return {
        "recipes": [about(recipe) for recipe in built_in().values()],
        "limits": {
            "arms": limits.ARMS,
            "seeds": limits.SEEDS,
            "epochs": limits.EPOCHS,
            "points": limits.POINTS,
            "replica_epochs": limits.REPLICA_EPOCHS,
        },
    }


def about(recipe: Recipe) -> dict[str, Any]:
    """Return one recipe as plain data."""
    found = sites(recipe)
    paragraphs = [" ".join(part.split()) for part in recipe.story.split("\n\n")]
    return {
        "name": recipe.name,
        "title": recipe.title,
        "story": [part for part in paragraphs if part],
        "hints": list(recipe.hints),
        "epochs": recipe.epochs,
        "seeds": len(recipe.seeds),
        "batch_size": recipe.batch_size,
        "optimizer": _call(recipe.optimizer.name, recipe.optimizer.arguments),
        "data": recipe.data.sentence,
        "primary": recipe.primary,
        "target": str(recipe.target) if recipe.target else None,
        "network": " → ".join(map(str, recipe.model.widths))
        or _call(recipe.model.path, recipe.model.arguments),
        "widths": list(recipe.model.widths),
        "sites": found,
        "arms": [
            {
                "name": arm.name,
                "rates": _by_site(arm.rates, found),
                "existing": dict(arm.existing),
            }
            for arm in recipe.arms
        ],
    }


def sites(recipe: Recipe) -> list[dict[str, Any]]:
    """Return where dropout can go.

    In droplab's own network that is the input of each layer, in the order of the layers. What
    another model has is known once it is built, which needs torch: of it the sites that the
    recipe's arms name are offered.
    """
    widths = recipe.model.widths
    if not widths:
        return [
            {"path": site, "width": None, "input": False, "planned": True} for site in recipe.sites
        ]
    return [
        {
            "path": site,
            "width": width,
            "input": at == 1,
            "planned": any(_means(each, site, at == 1) for each in recipe.sites),
        }
        for at, width in enumerate(widths[:-1], start=1)
        for site in (f"fc{at}",)
    ]


def _means(name: str, site: str, is_input: bool) -> bool:
    """Whether a recipe's name of sites means one; a pattern leaves the model's own input out."""
    return name == site or (not is_input and fnmatchcase(site, name))


def _by_site(rates: Mapping[str, float], found: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the rates of an arm with each pattern as the sites that it means."""
    paths = {site["path"] for site in found}
    spread = {
        site["path"]: p
        for name, p in rates.items()
        for site in found
        if name not in paths and _means(name, site["path"], site["input"])
    }
    return spread | {name: p for name, p in rates.items() if name in paths}


def _call(name: str, arguments: Any) -> str:
    return ", ".join([name, *(f"{key} {value}" for key, value in arguments.items())])
