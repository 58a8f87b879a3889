"""What a run says about its data and model, as far as the verdict needs it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from droplab.recipe import Recipe
from droplab.results import ARM_COLUMN, ELSEWHERE, is_dropout

_LONGEST = 40
"""Letters of a class's name that a sentence can bear."""


@dataclass(frozen=True)
class About:
    """What the notes of a run say; runs of earlier versions say less.

    Args:
        validation: Number of validation examples; None if unknown.
        train: Number of training examples; None if unknown.
        commonest: Name of the commonest class among them; None if unknown.
        share: Its share of them: what the constant answer gets right.
        own_dropout: What the model drops by itself in the baseline, place to p.
        built: What it drops as it is built; arms may change that.
        changed: Whether some arm changes it.
        rates: Rates of the arms that name sites by patterns, site to p.
        changed_code: What was not as before when the run was resumed all the same.
        validated_on: See `validated_on`.
        tested: Whether a test split is left for the end.
        column: What differs between arms of rows from elsewhere, the name of their column.
        seen: Whether droplab saw the runs.
        odd: What was odd about the data when the run began, a sentence each.
        constant: What the best constant answer has on the validation examples, metric to value.
        constant_examples: The metric that decides on each of them; empty if unknown.
        classes: Names of the classes, in order; empty if unknown.
    """

    validation: int | None = None
    train: int | None = None
    commonest: str | None = None
    share: float = math.nan
    own_dropout: Mapping[str, float] = field(default_factory=dict[str, float])
    built: Mapping[str, float] = field(default_factory=dict[str, float])
    changed: bool = False
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    changed_code: tuple[str, ...] = ()
    validated_on: str = "train"
    tested: bool = True
    column: str = field(default="", kw_only=True)
    odd: tuple[str, ...] = ()
    seen: bool = True
    constant: Mapping[str, float] = field(default_factory=dict[str, float])
    constant_examples: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def is_dropout(self) -> bool:
        """Whether it is dropout in which arms differ, as far as a column's name says."""
        return not self.column or is_dropout(self.column)

    @classmethod
    def of(cls, recipe: Recipe, notes: Mapping[str, str]) -> About:
        """Read the notes of a run; what is not there or not readable stays unknown."""
        data, dropout = stored_data(notes), _object(notes, "dropout")
        size = data.get("validation")  # of a search they are others than the recipe says
        if not isinstance(size, int):
            size = recipe.data.validation
        trained = data.get("train")
        commonest, share = _commonest(data)
        odd: object = data.get("notes")
        built, arms = _rates(dropout), _object(notes, "arms")
        placed = {arm: _tables(arms.get(arm)) for arm in (arm.name for arm in recipe.arms)}
        own = {**built, **placed[recipe.baseline.name].get("existing", {})}
        return cls(
            size if isinstance(size, int) and size > 0 else None,
            trained if isinstance(trained, int) and trained > 0 else None,
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
            ELSEWHERE not in notes,
            *_constant(_object(notes, "constant")),
            tuple(_classes(data)),
            column=notes.get(ARM_COLUMN, ""),
        )


def stored_data(notes: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what a run stored about its data; nothing of what is not readable."""
    return _object(notes, "data")


def validated_on(recipe: Recipe, stored: Mapping[str, Any]) -> str:
    """Return whose examples a run was validated on: of the "test", the "train" or its "own" split.

    "fresh" ones, or a "fresh test" split, are those that a search never scored; "searched" are
    those of somebody's own loop by which a search chose.

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


def _constant(table: Mapping[str, Any]) -> tuple[dict[str, float], tuple[float, ...]]:
    values, examples = table.get("values"), table.get("examples")
    found = cast("dict[object, object]", values) if isinstance(values, dict) else {}
    each = cast("list[object]", examples) if isinstance(examples, list) else []
    known = {str(name): float(v) for name, v in found.items() if isinstance(v, (int, float))}
    return known, tuple(float(v) for v in each if isinstance(v, (int, float)))


def _commonest(data: Mapping[str, Any]) -> tuple[str | None, float]:
    counts, classes = data.get("validation_counts"), _classes(data)
    if not isinstance(counts, list):
        return None, math.nan
    numbers = [n for n in cast("list[Any]", counts) if isinstance(n, int) and n >= 0]
    if len(numbers) != len(classes) or not sum(numbers):
        return None, math.nan
    most = max(range(len(numbers)), key=numbers.__getitem__)
    return classes[most], numbers[most] / sum(numbers)


def _classes(data: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes, as long as a sentence can bear."""
    names: object = data.get("classes")
    if not isinstance(names, list):
        return []
    each = map(str, cast("list[object]", names))
    return [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in each]


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
