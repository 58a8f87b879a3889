"""The losses that a recipe can name, and what their arguments may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from droplab.errors import nearest, quote
from droplab.numeric import real, whole
from droplab.recipe._values import check_import_path


class Known(NamedTuple):
    """A loss: the tasks that it belongs to, and for each argument what is wrong with a value."""

    tasks: tuple[str, ...]
    arguments: Mapping[str, Callable[[Any], str]]


def _between(value: Any, low: float, high: float, *, closed: bool = False) -> bool:
    number = real(value)
    return number is not None and (low < number < high or (closed and number == low))


def _smoothing(value: Any) -> str:
    return "" if _between(value, 0, 1, closed=True) else "a number from 0 to below 1"


def _delta(value: Any) -> str:
    return "" if _between(value, 0, float("inf")) else "a number above 0"


def _quantile(value: Any) -> str:
    return "" if _between(value, 0, 1) else "a quantile, a number between 0 and 1"


def _index(value: Any) -> str:
    return "" if whole(value) is not None else "a whole number"


def _weight(value: Any) -> str:
    if value == "balanced":
        return ""
    numbers: Any = value
    if isinstance(value, Mapping):
        numbers = tuple(cast("Mapping[Any, Any]", value).values())
    if isinstance(numbers, tuple) and numbers:
        each = cast("tuple[Any, ...]", numbers)
        good = all(_between(x, 0, float("inf"), closed=True) for x in each)
        if good and any(each):
            return ""
    return "a weight of at least 0 for each class, in a list or a table by class, or 'balanced'"


def _pos_weight(value: Any) -> str:
    if value == "balanced" or _between(value, 0, float("inf")):
        return ""
    if isinstance(value, tuple) and value:
        each = cast("tuple[Any, ...]", value)
        if all(_between(x, 0, float("inf")) for x in each):
            return ""
    return "a weight above 0 of the positive targets, a list with one for each label, or 'balanced'"


LOSSES: Mapping[str, Known] = MappingProxyType(
    {
        "cross_entropy": Known(
            ("classification", "tokens"),
            {"label_smoothing": _smoothing, "weight": _weight, "ignore_index": _index},
        ),
        "bce": Known(("binary", "multilabel"), {"pos_weight": _pos_weight}),
        "mse": Known(("regression",), {}),
        "l1": Known(("regression",), {}),
        "huber": Known(("regression",), {"delta": _delta}),
        "pinball": Known(("regression",), {"q": _quantile}),
    }
)
"""The losses by name. What stands for a task that names none is the first one of it here."""


def check_loss(name: str, arguments: Mapping[str, Any]) -> None:
    """Check a loss as far as it can be without data.

    Raises:
        ValueError: If the name or an argument is unknown, or a value is impossible.
    """
    if name not in LOSSES:
        if ":" not in name:
            raise ValueError(
                f"expected a loss, or an import path such as 'my_package.losses:loss', got "
                f"{quote(name)}{nearest(name, LOSSES)}"
            )
        check_import_path(name)
        return
    known = LOSSES[name].arguments
    for key, value in arguments.items():
        if key not in known:
            hint = nearest(key, known) or "; it has no arguments"
            raise ValueError(f"{name}: unknown argument {quote(key)}{hint}")
        wanted = known[key](value)
        if wanted:
            raise ValueError(f"{name}.{key}: expected {wanted}, got {quote(value)}")
