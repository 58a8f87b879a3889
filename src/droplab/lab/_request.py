"""From the body of a request to the recipe of a run; nothing else of the request goes on."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, StrictBool, model_validator

from droplab.errors import DroplabError, nearest, quote
from droplab.lab import _limits as limits
from droplab.lab._body import Body, checked, whole
from droplab.lab._limits import Refusal
from droplab.lab._recipes import find, sites
from droplab.probability import check_p
from droplab.recipe import Arm, Recipe

OF_KIND = {"experiment": {"arms"}, "sweep": {"rates", "sites", "independent"}}
BASELINE = "none"


def _some(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, list) or not 1 <= len(value) <= limits.ARMS:
            raise ValueError(f"expected a list of 1 to {limits.ARMS} {what}, got {quote(value)}")
        return value

    return BeforeValidator(check)


class RunRequest(Body):
    """What is asked for: a built-in recipe with other arms, or with the arms of a sweep."""

    kind: Literal["experiment", "sweep"]
    recipe: Annotated[Recipe, PlainValidator(find)]
    epochs: Annotated[int, whole(1, limits.EPOCHS)] | None = None
    seeds: Annotated[int, whole(1, limits.SEEDS)] | None = None
    arms: Annotated[list[Arm], _some("arms")] | None = None
    rates: Annotated[list[Annotated[float, PlainValidator(check_p)]], _some("rates")] | None = None
    sites: Annotated[list[str], _some("sites")] | None = None
    independent: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> RunRequest:
        for kind, keys in OF_KIND.items():
            for key in sorted(keys & self.model_fields_set):
                if kind != self.kind:
                    raise ValueError(f"{key} is no part of kind '{self.kind}'; leave it out")
        if self.kind == "sweep" and not self.rates:
            raise ValueError("a sweep needs rates; give a list of them, such as [0.2, 0.5]")
        for arm in self.arms or ():
            if arm.kind is not None:
                raise ValueError(f"arms.{arm.name}: expected name and rates, got a kind as well")
            self._check_sites(f"arms.{arm.name}.rates", arm.rates)
        self._check_sites("sites", self.sites or ())
        return self

    def _check_sites(self, where: str, given: Iterable[str]) -> None:
        known = [site["path"] for site in sites(self.recipe)]
        for site in given:
            if site not in known:
                raise ValueError(f"{where}: no site {quote(site)}{nearest(site, known)}")


def requested_recipe(body: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the run that a request asks for.

    A sweep needs torch, which takes a second or two to import the first time.

    Args:
        body: The request's object.

    Raises:
        Refusal: It asks for something impossible, or for too much.
    """
    asked = checked(RunRequest, body)
    recipe = asked.recipe
    seeds = more_seeds(recipe.seeds, asked.seeds or len(recipe.seeds))
    try:
        recipe = dataclasses.replace(recipe, epochs=asked.epochs or recipe.epochs, seeds=seeds)
        recipe = _sweep(recipe, asked) if asked.kind == "sweep" else _experiment(recipe, asked)
    except DroplabError as error:
        raise Refusal(400, str(error)) from None
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


def _experiment(recipe: Recipe, asked: RunRequest) -> Recipe:
    if asked.arms is None:
        return recipe
    baseline = () if any(arm.is_baseline for arm in asked.arms) else (Arm(BASELINE),)
    return dataclasses.replace(recipe, arms=(*baseline, *asked.arms))


def _sweep(recipe: Recipe, asked: RunRequest) -> Recipe:
    rates, named = asked.rates or [], list(dict.fromkeys(asked.sites or ()))
    places = len(named) or sum(not site["input"] for site in sites(recipe))
    if asked.independent and len({*rates, 0.0}) ** places > limits.ARMS:
        raise Refusal(
            400,
            f"rates: expected at most {limits.ARMS} combinations, got more; take fewer rates, or "
            "fewer sites",
        )
    from droplab.studies import sweep_recipe

    return sweep_recipe(recipe, rates, sites=named or None, independent=asked.independent)


def _check_size(recipe: Recipe) -> None:
    arms, seeds, epochs = len(recipe.arms), len(recipe.seeds), recipe.epochs
    if arms > limits.ARMS:
        raise Refusal(400, f"arms: expected at most {limits.ARMS} with the baseline, got {arms}")
    sizes = (
        ("arms x epochs", limits.POINTS, (arms, epochs)),
        ("arms x seeds x epochs", limits.REPLICA_EPOCHS, (arms, seeds, epochs)),
    )
    for what, most, numbers in sizes:
        if (product := math.prod(numbers)) > most:
            raise Refusal(
                400,
                f"{what}: expected at most {most}, got {' x '.join(map(str, numbers))} = "
                f"{product}; take fewer of one",
            )
