"""The arms of a sweep: one common rate, or a grid over sites."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException

from torch import nn

from droplab import models, placement
from droplab.errors import ArgumentError, quote
from droplab.probability import check_p
from droplab.recipe import Arm, Recipe
from droplab.studies._from_data import model_from_data
from droplab.train import initial_model

BASELINE = "none"
"""Name of the arm without dropout."""

AS_BUILT = "as built"
"""Name of the arm that leaves the rates that the model has as they are."""

_MOST = 1000
"""Arms that a grid may have: more is a slip of the keyboard rather than an experiment."""


def parse_rates(text: str) -> tuple[float, ...]:
    """Return the rates that a text such as "0:0.8:0.1" or "0,0.2,0.5" means.

    Args:
        text: start:stop:step with both ends, or rates with commas.

    Raises:
        ArgumentError: If it means no rates, or one that is no drop probability.

    Example:
        >>> parse_rates("0:0.3:0.1")
        (0.0, 0.1, 0.2, 0.3)
        >>> parse_rates("0.2, 0.5")
        (0.2, 0.5)
    """
    form = "expected start:stop:step such as 0:0.8:0.1, or rates such as 0,0.2,0.5"
    try:
        if ":" not in text:
            found = [Decimal(part.strip()) for part in text.split(",") if part.strip()]
        else:
            start, stop, step = (Decimal(part.strip()) for part in text.split(":"))
            if not all(number.is_finite() for number in (start, stop, step)):
                raise ArgumentError(f"rates: {form}, got {quote(text)}")
            if step <= 0:
                raise ArgumentError(f"rates: expected a step above 0, got {quote(text)}")
            for end in (start, stop):  # before the list is made, which could be a long one
                check_p(float(end), where="rates")
            if (stop - start) / step > _MOST:
                raise ArgumentError(
                    f"rates: expected at most {_MOST} rates, got {quote(text)}; take larger steps"
                )
            found = []
            while start <= stop:
                found.append(start)
                start += step
    except (DecimalException, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"rates: {form}, got {quote(text)}") from None
    return check_rates([float(rate) for rate in found], text=text)


def check_rates(rates: Sequence[float], *, text: str | None = None) -> tuple[float, ...]:
    """Return rates in ascending order, each once.

    Raises:
        ArgumentError: If there are none, or one is no drop probability.
    """
    sound = sorted({check_p(rate, where="rates") for rate in rates})
    if not sound:
        raise ArgumentError(
            f"rates: expected at least one rate to compare with no dropout, got "
            f"{'none' if text is None else repr(text)}; write 0:0.8:0.1 for example"
        )
    if sound == [0.0]:
        raise ArgumentError(
            "rates: expected a rate above 0 to compare with no dropout, got only 0; "
            "write 0:0.8:0.1 for example"
        )
    return tuple(sound)


def sweep_arms(
    model: nn.Module,
    rates: Sequence[float],
    *,
    sites: Sequence[str] | None = None,
    independent: bool = False,
    kind: str | None = None,
    existing: str | None = None,
) -> tuple[Arm, ...]:
    """Return the arms of a sweep, the baseline first.

    Args:
        model: Where dropout is to go; it is not changed.
        rates: Drop probabilities; 0 is always among them. With `existing`, the baseline is the
            model with its own rates, and 0 is among them if it is given.
        sites: Names or patterns of sites; None for every hidden one.
        independent: Every combination of rates over the sites, instead of one rate for all.
        kind: Kind of dropout; None for what suits each site.
        existing: Name or pattern of dropout that the model has already, which gets these rates in
            place of added dropout; None to add some.

    Raises:
        ArgumentError: If there are no rates, no sites, or too many combinations.

    Example:
        >>> from droplab.models import MLP
        >>> [arm.name for arm in sweep_arms(MLP(4, (3,), 2), [0.2, 0.5])]
        ['none', '0.2', '0.5']
    """
    if existing is not None:
        if sites or independent or kind is not None:
            raise ArgumentError(
                "existing: expected no sites, kind or independent beside it, which are about "
                "dropout that is added"
            )
        values = sorted({check_p(rate, where="rates") for rate in rates})
        if not values:
            raise ArgumentError("rates: expected at least one rate for existing dropout, got none")
        return (Arm(AS_BUILT), *(Arm(f"{p:g}", existing={existing: p}) for p in values))
    positive = [rate for rate in check_rates(rates) if rate > 0]
    if kind == "path":  # which branches there are, is only known when the data is
        if independent:
            raise ArgumentError(
                "independent: expected one rate for all residual branches, with kind = 'path'; "
                "write arms with the rates of each in a recipe"
            )
        tables = [dict.fromkeys(sites or ["*"], rate) for rate in positive]
        return (Arm(BASELINE), *(Arm(f"{next(iter(t.values())):g}", t, kind) for t in tables))
    wanted = 0.5 if not sites else dict.fromkeys(sites, 0.5)
    names = placement.plan(model, wanted, kind=kind).names  # pyright: ignore[reportArgumentType]
    if not independent:
        tables = [dict.fromkeys(names, rate) for rate in positive]
        return (Arm(BASELINE), *(Arm(f"{t[names[0]]:g}", t, kind) for t in tables))
    count = (len(positive) + 1) ** len(names)
    if count > _MOST:
        raise ArgumentError(
            f"rates: expected at most {_MOST} combinations, got {len(positive) + 1} rates at "
            f"{len(names)} sites, which makes {count}; take fewer rates, or name fewer --sites"
        )
    arms = [Arm(BASELINE)]
    for combination in itertools.product((0.0, *positive), repeat=len(names)):
        if any(combination):
            name = "-".join(f"{rate:g}" for rate in combination)
            arms.append(Arm(name, dict(zip(names, combination, strict=True)), kind))
    return tuple(arms)


def sweep_recipe(
    recipe: Recipe,
    rates: Sequence[float],
    *,
    sites: Sequence[str] | None = None,
    independent: bool = False,
    kind: str | None = None,
    existing: str | None = None,
) -> Recipe:
    """Return `recipe` with the arms of a sweep in place of its own.

    Raises:
        ArgumentError: As `sweep_arms`, or if the model cannot be built.

    Example:
        >>> from droplab.recipe import load
        >>> [arm.name for arm in sweep_recipe(load("digits"), [0.3]).arms]
        ['none', '0.3']
    """
    recipe, _ = model_from_data(recipe)
    model = initial_model(lambda: models.build(recipe.model), recipe.seeds[0])
    arms = sweep_arms(
        model, rates, sites=sites, independent=independent, kind=kind, existing=existing
    )
    title = f"{recipe.title or recipe.name}: a sweep over dropout rates"
    return dataclasses.replace(
        recipe, name=f"{recipe.name}-sweep", title=title, hints=(), arms=arms
    )


def best_rates(recipe: Recipe, arm: str) -> Mapping[str, float]:
    """Return where an arm has dropout and how much; empty for the baseline."""
    return {site: p for site, p in recipe.arm(arm).rates.items() if p > 0}
