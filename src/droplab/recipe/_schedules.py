"""The schedules of a rate that an arm can name, and what their arguments may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from droplab.errors import nearest, quote
from droplab.limits import COUNT
from droplab.numeric import real, whole
from droplab.probability import check_p


class KnownSchedule(NamedTuple):
    """A schedule: for each argument what is wrong with a value, and which ones it needs."""

    arguments: Mapping[str, Callable[[Any], str]]
    needed: tuple[str, ...]


def _count(least: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        number = whole(value)
        good = number is not None and least <= number <= COUNT
        return "" if good else f"a whole number of optimizer steps, at least {least}"

    return check


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _positive(value: Any) -> str:
    number = real(value)
    return "" if number is not None and 0 < number < float("inf") else "a number above 0"


def _rate(value: Any) -> str:
    try:
        check_p(value)
    except ValueError:
        return "a drop probability in [0, 1]"
    return ""


SCHEDULES: Mapping[str, KnownSchedule] = MappingProxyType(
    {
        "early": KnownSchedule({"steps": _count(0), "decay": _flag}, ("steps",)),
        "late": KnownSchedule({"start": _count(0)}, ("start",)),
        "linear": KnownSchedule({"steps": _count(1), "start": _rate}, ("steps",)),
        "curriculum": KnownSchedule({"steps": _count(1), "sharpness": _positive}, ("steps",)),
    }
)
"""The schedules by name: those of `droplab.nn.schedules` that change a rate with the step."""


def check_schedule(name: str, arguments: Mapping[str, Any]) -> None:
    """Check a schedule.

    Raises:
        ValueError: If the name or an argument is unknown, one is missing, or a value is impossible.
    """
    if name not in SCHEDULES:
        raise ValueError(f"expected a schedule, got {quote(name)}{nearest(name, SCHEDULES)}")
    known, needed = SCHEDULES[name]
    for key, value in arguments.items():
        if key not in known:
            raise ValueError(f"{name}: unknown argument {quote(key)}{nearest(key, known)}")
        wanted = known[key](value)
        if wanted:
            raise ValueError(f"{name}.{key}: expected {wanted}, got {quote(value)}")
    for key in needed:
        if key not in arguments:
            raise ValueError(f"{name}: expected {key}, {known[key](None)}, got none")
