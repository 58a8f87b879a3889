"""Where the exercises are found: one file each in `catalogue`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from droplab.errors import ArgumentError, nearest
from droplab.practice import catalogue
from droplab.practice._exercise import LEVELS, Exercise


@cache
def _all() -> tuple[Exercise, ...]:
    modules = [
        importlib.import_module(f"{catalogue.__name__}.{item.name}")
        for item in pkgutil.iter_modules(catalogue.__path__)
    ]
    return tuple(sorted((module.EXERCISE for module in modules), key=lambda item: item.number))


def exercises(*, topic: str | None = None, level: int | None = None) -> tuple[Exercise, ...]:
    """Return the exercises in the order of their numbers.

    Args:
        topic: Only those about this topic; see `topics`.
        level: Only those of this level; see `LEVELS`.

    Raises:
        ArgumentError: If there is no such topic or level, or no exercise with both.

    Example:
        >>> exercises(topic="eval-mode")[0].level
        1
    """
    if level is not None and level not in LEVELS:
        known = ", ".join(f"{number} ({words})" for number, words in LEVELS.items())
        raise ArgumentError(f"level: expected one of {known}, got {level!r}")
    if topic is not None and topic not in topics():
        raise ArgumentError(f"topic: no exercise is about '{topic}'{nearest(topic, topics())}")
    about = [item for item in _all() if topic in (None, item.topic)]
    chosen = tuple(item for item in about if level in (None, item.level))
    if not chosen:
        levels = ", ".join(str(number) for number in sorted({item.level for item in about}))
        raise ArgumentError(
            f"topic '{topic}' has no exercise of level {level}; it has them of level {levels}"
        )
    return chosen


def topics() -> tuple[str, ...]:
    """Return the topics, in the order in which they first appear.

    Example:
        >>> "eval-mode" in topics()
        True
    """
    return tuple(dict.fromkeys(item.topic for item in _all()))


def find(key: str | int) -> Exercise:
    """Return the exercise with this number or name.

    Raises:
        ArgumentError: If there is none.

    Example:
        >>> find("3") is find(3) is find(find(3).name)
        True
    """
    word = str(key).strip().lower()
    for item in _all():
        if word in (str(item.number), item.name):
            return item
    numbers = [item.number for item in _all()]
    hint = "" if word.lstrip("-").isdigit() else nearest(word, [item.name for item in _all()])
    if not hint or hint.startswith("; valid"):
        hint = "; `droplab practice --list` shows them"
    raise ArgumentError(
        f"exercise: expected a number from {numbers[0]} to {numbers[-1]} or a name, got "
        f"'{key}'{hint}"
    )
