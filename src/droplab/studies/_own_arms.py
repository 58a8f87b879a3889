"""The arms of a study as its user writes them: a rate, sites, existing dropout, a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from droplab.errors import RecipeError, quote
from droplab.numeric import real
from droplab.recipe import Arm, ScheduleSpec

_KEYS = ("existing", "schedule", "kind", "rates")
"""What an arm may say beside the rates of its sites."""


def read_arms(given: Any) -> tuple[Arm, ...]:
    """Return the arms that a mapping of names means.

    Args:
        given: Name -> what drops: {} for the baseline, a rate for every hidden site, or a table of
            sites and rates, with "existing" (rates of dropout that the model has), "schedule" and
            "kind" beside them where they are wanted.

    Raises:
        RecipeError: If something else is given, or a value is impossible.

    Example:
        >>> arms = read_arms({"none": {}, "light": 0.1, "less": {"existing": {"*attn*": 0.0}}})
        >>> [(arm.rates, arm.existing) for arm in arms]
        [({}, {}), ({'*': 0.1}, {}), ({}, {'*attn*': 0.0})]
    """
    if isinstance(given, Mapping):
        table = cast("Mapping[Any, Any]", given)
        return tuple(_arm(name, each) for name, each in table.items())
    if isinstance(given, (list, tuple)) and all(isinstance(each, Arm) for each in given):
        return tuple(cast("list[Arm]", given))
    raise RecipeError(
        "arms: expected names and what drops in each, got "
        f"{quote(given)}; write {{'none': {{}}, 'light': 0.1, 'half': {{'fc2': 0.5}}}} for example"
    )


def _arm(name: Any, given: Any) -> Arm:
    if isinstance(given, Arm):
        return given
    rate = real(given)
    try:
        if rate is not None:
            return Arm(name, {"*": rate} if rate else {})
        if not isinstance(given, Mapping):
            raise RecipeError(
                f"expected a rate, or a table of sites and rates, got {quote(given)}; the baseline "
                "is {}"
            )
        table = dict(cast("Mapping[str, Any]", given))
        more = {key: table.pop(key) for key in _KEYS if key in table}
        schedule = more.pop("schedule", None)
        if isinstance(schedule, Mapping):
            words = dict(cast("Mapping[str, Any]", schedule))
            more["schedule"] = ScheduleSpec(words.pop("name", ""), words)
        elif schedule is not None:
            more["schedule"] = schedule
        rates = {**more.pop("rates", {}), **table}
        return Arm(name, rates, **more)
    except RecipeError as error:
        raise RecipeError(f"arms.{name}: {error}") from None
