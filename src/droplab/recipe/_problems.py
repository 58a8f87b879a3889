"""From pydantic's errors to ours: place, what was expected, what came, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from droplab.errors import nearest, quote
from droplab.limits import PROBLEMS, QUOTED

Problem = tuple[str, str]
"""Where, and what is wrong there."""

_KEYS: dict[str, tuple[str, ...]] = {
    "Recipe": (
        *("name", "title", "story", "hints", "data", "model", "optimizer", "epochs", "batch_size"),
        *("seeds", "arms", "target", "primary", "clip", "scheduler", "score_train", "task", "loss"),
        *("also_measure", "stopping", "accumulate", "precision", "margin", "margin_size", "looks"),
    ),
    "DataSpec": (
        *("name", "path", "function", "arguments", "format", "train", "validation", "in_memory"),
        *("folds", "stratify", "resample"),
    ),
    "ModelSpec": ("path", "arguments"),
    "OptimizerSpec": ("name", "arguments", "groups"),
    "GroupSpec": ("match", "arguments"),
    "SchedulerSpec": ("name", "arguments", "every"),
    "LossSpec": ("name", "arguments"),
    "StoppingSpec": ("patience", "min_gain"),
    "MetricSpec": ("name", "path", "better", "label", "unit"),
    "Arm": ("name", "rates", "kind", "existing", "schedule"),
    "ScheduleSpec": ("name", "arguments"),
    "Target": ("conditions",),
    "Condition": ("metric", "op", "value"),
}
_CLASSES = {
    "data": "DataSpec",
    "model": "ModelSpec",
    "optimizer": "OptimizerSpec",
    "groups": "GroupSpec",
    "scheduler": "SchedulerSpec",
    "loss": "LossSpec",
    "stopping": "StoppingSpec",
    "arms": "Arm",
    "also_measure": "MetricSpec",
    "schedule": "ScheduleSpec",
    "target": "Target",
    "conditions": "Condition",
}

_EXPECTED = {
    "dataclass_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "string_type": "text in quotes",
    "bool_type": "true or false",
}
"""Kinds of pydantic's errors that are told by what would have been right."""

_FLAT = ("model", "optimizer", "scheduler", "loss", "schedule", "groups")
"""Tables whose arguments stand beside their own key."""


def explain(
    error: ValidationError,
    *,
    where: str,
    document: Mapping[str, Any],
    keys: Iterable[str],
    most: int = PROBLEMS,
) -> str:
    """Return what pydantic found wrong in something else than a recipe, in the same words.

    Args:
        error: What pydantic raised.
        where: What the text begins with.
        document: Key -> what was given for it; recipes, arms and their parts may be within.
        keys: The keys that it may have.
        most: How many problems are listed.
    """
    return message(where, describe(error, root=where, document=document, keys=keys), most=most)


def message(where: str, problems: Sequence[Problem], *, most: int = PROBLEMS) -> str:
    """Return the text of the error that reports all `problems` of `where` together."""
    lines = [f"{place}: {text}" if place else text for place, text in dict.fromkeys(problems)]
    if len(lines) == 1:
        return f"{where}: {lines[0]}"
    shown = [f"  {line}" for line in lines[:most]]
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([f"{where}: {len(lines)} problems", *shown, *more])


def describe(
    error: ValidationError,
    *,
    root: str,
    document: Mapping[str, Any],
    keys: Iterable[str] | None = None,
) -> list[Problem]:
    """Return the problems that pydantic found in `document`, in our words.

    Args:
        error: What pydantic raised.
        root: Name of the class that was made.
        document: Field -> what was given for it.
        keys: The fields of that class; a class of a recipe has them in `_KEYS`.
    """
    known = _KEYS if keys is None else {**_KEYS, root: tuple(keys)}
    problems: list[Problem] = []
    for item in error.errors(include_url=False):
        loc, kind, value = item["loc"], item["type"], item["input"]
        if kind == "unexpected_positional_argument":
            text = f"expected keyword arguments, got {quote(value)} without a keyword"
            problems.append(("", text))
            continue
        if loc and isinstance(loc[0], int) and loc[0] < len(known[root]):
            loc = (known[root][loc[0]], *loc[1:])  # a positional argument
        place = _place(loc, document)
        if kind == "value_error":
            text = str(item.get("ctx", {}).get("error", item["msg"])).removeprefix("p: ")
        elif kind == "missing":
            text = "this key is required"
        elif kind in ("unexpected_keyword_argument", "extra_forbidden"):
            name = _class(root, loc[:-1])
            text = _unknown(name, str(loc[-1]), known[name])
        elif kind in _EXPECTED:
            text = f"expected {_EXPECTED[kind]}, got {quote(value)}"
        else:
            text = f"{item['msg'][0].lower()}{item['msg'][1:]}, got {quote(value)}"
        problems.append((place, text))
    return problems


def _class(root: str, loc: Sequence[int | str]) -> str:
    for step in loc:
        root = _CLASSES.get(str(step), root)
    return root


def _unknown(name: str, key: str, keys: Sequence[str]) -> str:
    hint = nearest(key, keys)
    if name != "Arm":
        return f"unknown key{hint}"
    if "did you mean" in hint:
        return f"unknown key{hint}"
    return (
        "an arm may change nothing but dropout (its keys are name, rates, kind, existing and "
        f"schedule); move {quote(key)} out of the arms, or write a second recipe"
    )


def _place(loc: Sequence[int | str], document: Mapping[str, Any]) -> str:
    """Return a location as the user would write it: "arms.half.rates.fc2", "seeds[2]"."""
    text, value = "", cast("Any", document)
    for i, step in enumerate(loc):
        value = _step(value, step)
        if isinstance(step, int):
            name = _step(value, "name") if loc[i - 1] == "arms" else None
            text += f".{_part(name)}" if isinstance(name, str) else f"[{step}]"
        elif step == "arguments" and _stands_beside(loc[:i]):
            continue
        elif step not in ("[key]", "conditions"):
            text += f".{_part(step)}"
    return text.removeprefix(".")


def _stands_beside(table: Sequence[int | str]) -> bool:
    """Whether the arguments of a table, or of one in a list, stand beside its own key."""
    names = [step for step in table[-2:] if not isinstance(step, int)]
    return bool(names) and names[-1] in _FLAT


def _part(step: str) -> str:
    return step if len(step) <= QUOTED else quote(step)


def _step(value: Any, step: int | str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).get(step)
    if isinstance(value, (list, tuple)) and isinstance(step, int):
        items = cast("list[Any]", value)
        return items[step] if step < len(items) else None
    return getattr(cast("Any", value), str(step), None)
