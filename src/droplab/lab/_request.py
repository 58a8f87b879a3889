"""From the body of a request to the recipe of a run; nothing else of the request goes on."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from droplab.errors import DroplabError, nearest
from droplab.lab import _limits as limits
from droplab.lab._body import kind, quoted, whole
from droplab.lab._limits import Refusal
from droplab.lab._recipes import find, sites
from droplab.probability import check_p
from droplab.recipe import Arm, Recipe

KEYS = {
    "experiment": ("kind", "recipe", "arms", "seeds", "epochs"),
    "sweep": ("kind", "recipe", "rates", "sites", "independent", "seeds", "epochs"),
}
ALL_KEYS = tuple(dict.fromkeys(itertools.chain(*KEYS.values())))
BASELINE = "none"


def requested_recipe(body: dict[str, Any]) -> Recipe:
    """Return the recipe of the run that a request asks for.

    A sweep needs torch, which takes a second or two to import the first time.

    Args:
        body: The request's object, with keys of `ALL_KEYS`.

    Raises:
        Refusal: It asks for something impossible, or for too much.
    """
    what = body.get("kind")
    if not isinstance(what, str) or what not in KEYS:
        raise Refusal(400, "kind: expected 'experiment' or 'sweep'")
    for key in body:
        if key not in KEYS[what]:
            raise Refusal(400, f"{key}: is no part of kind '{what}'; leave it out")
    recipe = find(body.get("recipe"))
    epochs = whole(body, "epochs", 1, limits.EPOCHS, recipe.epochs)
    count = whole(body, "seeds", 1, limits.SEEDS, len(recipe.seeds))
    recipe = _checked(recipe, epochs=epochs, seeds=more_seeds(recipe.seeds, count))
    recipe = _experiment(recipe, body) if what == "experiment" else _sweep(recipe, body)
    _check_size(recipe)
    return recipe


def more_seeds(own: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return `count` seeds: a recipe's own ones first, then the smallest that are not in them.

    Example:
        >>> more_seeds((42,), 3)
        (42, 0, 1)
    """
    others = (seed for seed in itertools.count() if seed not in own)
    return (*own[:count], *itertools.islice(others, max(0, count - len(own))))


def _experiment(recipe: Recipe, body: dict[str, Any]) -> Recipe:
    given = body.get("arms")
    if given is None:
        return recipe
    if not isinstance(given, list) or not 1 <= len(given) <= limits.ARMS:
        raise Refusal(400, f"arms: expected a list of 1 to {limits.ARMS} arms")
    arms = [_arm(recipe, item, f"arms[{at}]") for at, item in enumerate(given)]
    if not any(arm.is_baseline for arm in arms):
        arms = [Arm(BASELINE), *arms]
    return _checked(recipe, arms=tuple(arms))


def _arm(recipe: Recipe, given: Any, where: str) -> Arm:
    if not isinstance(given, dict) or not set(given) <= {"name", "rates"}:
        raise Refusal(400, f"{where}: expected an object with name and rates")
    rates = given.get("rates", {})
    if not isinstance(rates, dict):
        raise Refusal(400, f"{where}.rates: expected an object of site to rate")
    known = [site["path"] for site in sites(recipe)]
    for site in rates:
        if site not in known:
            raise Refusal(400, f"{where}.rates: no site {quoted(site)}{nearest(site[:50], known)}")
    try:
        return Arm(given.get("name", ""), rates)
    except DroplabError as error:
        raise Refusal(400, f"{where}: {error}") from None


def _sweep(recipe: Recipe, body: dict[str, Any]) -> Recipe:
    given, independent = body.get("rates"), body.get("independent", False)
    if not isinstance(independent, bool):
        raise Refusal(400, f"independent: expected true or false, got {kind(independent)}")
    if not isinstance(given, list) or not 1 <= len(given) <= limits.ARMS:
        raise Refusal(400, f"rates: expected a list of 1 to {limits.ARMS} rates")
    try:
        rates = [check_p(rate, where=f"rates[{at}]") for at, rate in enumerate(given)]
    except DroplabError as error:
        raise Refusal(400, str(error)[:300]) from None
    named = _named_sites(recipe, body.get("sites"))
    places = len(named) if named else sum(not site["input"] for site in sites(recipe))
    if independent and (len({*rates, 0.0})) ** places > limits.ARMS:
        raise Refusal(
            400,
            f"rates: expected at most {limits.ARMS} combinations, got more; take fewer rates, or "
            "fewer sites",
        )
    from droplab.study import sweep_recipe

    try:
        return sweep_recipe(recipe, rates, sites=named, independent=independent)
    except DroplabError as error:
        raise Refusal(400, str(error)) from None


def _named_sites(recipe: Recipe, given: Any) -> list[str] | None:
    if given is None:
        return None
    known = [site["path"] for site in sites(recipe)]
    if not isinstance(given, list) or not given:
        raise Refusal(400, f"sites: expected null or a list of {', '.join(known)}")
    for site in given:
        if not isinstance(site, str) or site not in known:
            raise Refusal(400, f"sites: expected sites of {', '.join(known)}, got another")
    return list(dict.fromkeys(given))


def _checked(recipe: Recipe, **changes: Any) -> Recipe:
    try:
        return dataclasses.replace(recipe, **changes)
    except DroplabError as error:
        raise Refusal(400, str(error)) from None


def _check_size(recipe: Recipe) -> None:
    arms, seeds, epochs = len(recipe.arms), len(recipe.seeds), recipe.epochs
    if arms > limits.ARMS:
        raise Refusal(400, f"arms: expected at most {limits.ARMS} with the baseline, got {arms}")
    if arms * epochs > limits.POINTS:
        raise Refusal(
            400,
            f"arms x epochs: expected at most {limits.POINTS}, got {arms} x {epochs} = "
            f"{arms * epochs}; take fewer of one",
        )
    if arms * seeds * epochs > limits.REPLICA_EPOCHS:
        raise Refusal(
            400,
            f"arms x seeds x epochs: expected at most {limits.REPLICA_EPOCHS}, got {arms} x "
            f"{seeds} x {epochs} = {arms * seeds * epochs}; take fewer of one",
        )
