"""What a run says about its data and model, as far as the verdict needs it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from droplab.recipe import Recipe

_LONGEST = 40
"""Letters of a class's name that a sentence can bear."""


@dataclass(frozen=True)
class About:
    """What the notes of a run say; runs of earlier versions say less.

    Args:
        validation: Number of validation examples; None if unknown.
        commonest: Name of the commonest class among them; None if unknown.
        share: Its share of them: what the constant answer gets right.
        own_dropout: What the model drops by itself in the baseline, place to p.
        built: What it drops as it is built; arms may change that.
        changed: Whether some arm changes it.
        rates: Rates of the arms that name sites by patterns, site to p.
        changed_code: What was not as before when the run was resumed all the same.
        validated_on: See `validated_on`.
        tested: Whether a test split is left for the end.
        odd: What was odd about the data when the run began, a sentence each.
    """

    validation: int | None = None
    commonest: str | None = None
    share: float = math.nan
    own_dropout: Mapping[str, float] = field(default_factory=dict[str, float])
    built: Mapping[str, float] = field(default_factory=dict[str, float])
    changed: bool = False
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    changed_code: tuple[str, ...] = ()
    validated_on: str = "train"
    tested: bool = True
    odd: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, notes: Mapping[str, str]) -> About:
        """Read the notes of a run; what is not there or not readable stays unknown."""
        data, dropout = (_object(notes, name) for name in ("data", "dropout"))
        size = recipe.data.validation
        if not isinstance(size, int):
            size = data.get("validation")
        commonest, share = _commonest(data)
        odd: object = data.get("notes")
        built, arms = _rates(dropout), _object(notes, "arms")
        placed = {arm: _tables(arms.get(arm)) for arm in (arm.name for arm in recipe.arms)}
        own = {**built, **placed[recipe.baseline.name].get("existing", {})}
        return cls(
            size if isinstance(size, int) and size > 0 else None,
            commonest,
            share,
            {place: p for place, p in own.items() if p > 0},
            {place: p for place, p in built.items() if p > 0},
            any(arm.existing for arm in recipe.arms),
            {arm: each["rates"] for arm, each in placed.items() if "rates" in each},
            tuple(notes.get("changed code", "").splitlines()),
            validated_on(recipe, data),
            data.get("test") != 0,
            tuple(map(str, cast("list[object]", odd))) if isinstance(odd, list) else (),
        )


def validated_on(recipe: Recipe, stored: Mapping[str, Any]) -> str:
    """Return whose examples a run was validated on: of the "test", the "train" or its "own" split.

    Args:
        recipe: The recipe of the run.
        stored: What the run stored about its data. Runs of earlier versions did not store this;
            then the recipe tells, save for the data of a caller of `droplab.sweep`.
    """
    if isinstance(known := stored.get("validated_on"), str):
        return known
    if recipe.data.function == "__main__:train_and_validation":
        return "own"
    return "test" if recipe.data.validation in (None, "test") else "train"


def _commonest(data: Mapping[str, Any]) -> tuple[str | None, float]:
    counts, names = data.get("validation_counts"), data.get("classes")
    if not isinstance(counts, list) or not isinstance(names, list):
        return None, math.nan
    numbers = [n for n in cast("list[Any]", counts) if isinstance(n, int) and n >= 0]
    classes = [str(name) for name in cast("list[Any]", names)]
    if len(numbers) != len(classes) or not sum(numbers):
        return None, math.nan
    most = max(range(len(numbers)), key=numbers.__getitem__)
    name = classes[most]
    short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    return short, numbers[most] / sum(numbers)


def as_placed(recipe: Recipe, notes: Mapping[str, str]) -> Recipe:
    """Return the recipe of a run with sites in place of the patterns that its arms name."""
    rates = About.of(recipe, notes).rates
    return replace(
        recipe,
        arms=tuple(replace(arm, rates=rates.get(arm.name, arm.rates)) for arm in recipe.arms),
    )


def _rates(table: object) -> dict[str, float]:
    """Return what of a table are rates."""
    if not isinstance(table, dict):
        return {}
    pairs = cast("dict[object, object]", table).items()
    return {str(name): p for name, p in pairs if isinstance(p, float) and 0 <= p <= 1}


def _tables(found: object) -> dict[str, dict[str, float]]:
    if not isinstance(found, dict):
        return {}
    return {str(name): _rates(table) for name, table in cast("dict[str, object]", found).items()}


def _object(notes: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(notes.get(name, "{}"))
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
