"""From pydantic's errors to ours: place, what was expected, what came, the nearest valid name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from droplab.errors import nearest, quote
from droplab.limits import PROBLEMS, QUOTED

Problem = tuple[str, str]
"""Where, and what is wrong there."""

_ARM_KEYS = ("name", "rates", "kind", "existing", "schedule")
_KEYS: dict[str, tuple[str, ...]] = {
    "Recipe": (
        *("name", "title", "story", "hints", "data", "model", "optimizer", "epochs", "batch_size"),
        *("seeds", "arms", "target", "primary", "clip", "scheduler", "score_train", "task", "loss"),
        "also_measure",
    ),
    "DataSpec": (
        *("name", "path", "function", "arguments", "format", "train", "validation", "in_memory"),
    ),
    "ModelSpec": ("path", "arguments"),
    "OptimizerSpec": ("name", "arguments"),
    "SchedulerSpec": ("name", "arguments", "every"),
    "LossSpec": ("name", "arguments"),
    "MetricSpec": ("name", "path", "better", "label", "unit"),
    "Arm": _ARM_KEYS,
    "ScheduleSpec": ("name", "arguments"),
    "Target": ("conditions",),
    "Condition": ("metric", "op", "value"),
}
_CLASSES = {
    "data": "DataSpec",
    "model": "ModelSpec",
    "optimizer": "OptimizerSpec",
    "scheduler": "SchedulerSpec",
    "loss": "LossSpec",
    "arms": "Arm",
    "also_measure": "MetricSpec",
    "schedule": "ScheduleSpec",
    "target": "Target",
    "conditions": "Condition",
}

_FLAT = ("model", "optimizer", "scheduler", "loss", "schedule")
"""Tables whose arguments stand beside their own key."""


def message(where: str, problems: Sequence[Problem]) -> str:
    """Return the text of the error that reports all `problems` of `where` together."""
    lines = [f"{place}: {text}" if place else text for place, text in dict.fromkeys(problems)]
    if len(lines) == 1:
        return f"{where}: {lines[0]}"
    shown = [f"  {line}" for line in lines[:PROBLEMS]]
    more = [f"  and {len(lines) - PROBLEMS} more"] if len(lines) > PROBLEMS else []
    return "\n".join([f"{where}: {len(lines)} problems", *shown, *more])


def describe(error: ValidationError, *, root: str, document: Mapping[str, Any]) -> list[Problem]:
    """Return the problems that pydantic found in `document`, in our words.

    Args:
        error: What pydantic raised.
        root: Name of the class that was made.
        document: Field -> what was given for it.
    """
    problems: list[Problem] = []
    for item in error.errors(include_url=False):
        loc, kind, value = item["loc"], item["type"], item["input"]
        if kind == "unexpected_positional_argument":
            text = f"expected keyword arguments, got {quote(value)} without a keyword"
            problems.append(("", text))
            continue
        if loc and isinstance(loc[0], int) and loc[0] < len(_KEYS[root]):
            loc = (_KEYS[root][loc[0]], *loc[1:])  # a positional argument
        place = _place(loc, document)
        if kind == "value_error":
            text = str(item.get("ctx", {}).get("error", item["msg"]))
        elif kind == "missing":
            text = "this key is required"
        elif kind == "unexpected_keyword_argument":
            text = _unknown(_class(root, loc[:-1]), str(loc[-1]))
        elif kind in ("dataclass_type", "dict_type"):
            text = f"expected a table, got {quote(value)}"
        else:
            text = f"{item['msg'][0].lower()}{item['msg'][1:]}, got {quote(value)}"
        problems.append((place, text))
    return problems


def _class(root: str, loc: Sequence[int | str]) -> str:
    for step in loc:
        root = _CLASSES.get(str(step), root)
    return root


def _unknown(name: str, key: str) -> str:
    if name != "Arm":
        return f"unknown key{nearest(key, _KEYS[name])}"
    hint = nearest(key, _ARM_KEYS)
    if "did you mean" in hint:
        return f"unknown key{hint}"
    return (
        "an arm may change nothing but dropout (its keys are name, rates, kind, existing and "
        "schedule); "
        f"move '{key}' out of the arms, or write a second recipe"
    )


def _place(loc: Sequence[int | str], document: Mapping[str, Any]) -> str:
    """Return a location as the user would write it: "arms.half.rates.fc2", "seeds[2]"."""
    text, value = "", cast("Any", document)
    for i, step in enumerate(loc):
        value = _step(value, step)
        if isinstance(step, int):
            name = _step(value, "name") if loc[i - 1] == "arms" else None
            text += f".{_part(name)}" if isinstance(name, str) else f"[{step}]"
        elif step == "arguments" and i and loc[i - 1] in _FLAT:
            continue
        elif step not in ("[key]", "conditions"):
            text += f".{_part(step)}"
    return text.removeprefix(".")


def _part(step: str) -> str:
    return step if len(step) <= QUOTED else quote(step)


def _step(value: Any, step: int | str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).get(step)
    if isinstance(value, (list, tuple)) and isinstance(step, int):
        items = cast("list[Any]", value)
        return items[step] if step < len(items) else None
    return getattr(cast("Any", value), str(step), None)
