"""User data from a function that returns map-style data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from droplab.data._labels import check_class_names, check_count, name_classes
from droplab.data._memory import as_split, guess_items
from droplab.data._progress import Progress
from droplab.data._targets import CLASSES_OF
from droplab.data._units import UNIT_ROLES, asked_units, read_units
from droplab.data.dataset import AnySplit, DataSet, content_checksum
from droplab.data.split import Split
from droplab.errors import ArgumentError, DataError, nearest, quote
from droplab.importing import import_object
from droplab.recipe import DataSpec

SPLITS = ("train", "validation", "test")
"""The splits that a table of data sets may have; the first one it must have."""

_FORMS = (
    "a map-style data set, a pair (train, test) of them, or a table {'train': ..., "
    "'validation': ..., 'test': ...}"
)


def load_function(spec: DataSpec, progress: Progress, task: str | None = None) -> DataSet:
    """Return the data set that `spec.function` makes, called with `spec.arguments`.

    Raises:
        DataError: If there is no such function, it fails, or returns something else.
    """
    path = spec.function or ""
    try:
        function = import_object(path, where="data.function")
    except ArgumentError as error:
        raise DataError(str(error)) from error.__cause__
    if not callable(function):
        raise DataError(
            f"data.function: expected a function, got {type(function).__name__} from {path}"
        )
    asked = asked_units(spec)
    arguments = {key: item for key, item in spec.arguments.items() if key not in UNIT_ROLES}
    try:
        made = function(**arguments)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"data.function: {path} fails with {type(error).__name__}: {error}; it was called with "
            f"{', '.join(f'{k}={quote(v)}' for k, v in arguments.items()) or 'no arguments'}"
        ) from error
    by: Any = None
    if asked is not None:
        made, by = _without(made, *asked, path)
    if isinstance(made, DataSet):
        return made if task is None else dataclasses.replace(made, task=task)
    parts = _parts(made, path)
    names = _class_names(parts["train"])
    check_class_names(names, where=f"data.function: {path}: classes")
    splits: dict[str, AnySplit] = {}
    for what, part in parts.items():
        _check(part, what, path)
        task = task or guess_items(part, name=f"data.function: {path}: {what}")
        splits[what] = as_split(
            part,
            name=f"{path} ({what})",
            classes=len(names),
            in_memory=spec.in_memory,
            progress=progress,
            task=task,
        )
    kept = {what: split for what, split in splits.items() if isinstance(split, Split)}
    notes: tuple[str, ...] = ()
    if task not in CLASSES_OF:
        pass
    elif len(kept) == len(splits):
        where = [f"data.function: {path}: {what}" for what in kept]
        numbers = [split.targets.numpy() for split in kept.values()]
        names, notes = name_classes(numbers, names, where=where)
    elif len(names) == 1:
        check_count(1, where=f"data.function: {path}", got=names[0])
    units, others = None, b""
    if asked is not None:
        where = f"data.function: {path}: {asked[1]}"
        units = read_units(*asked, by, len(splits["train"]), where)
        others = units.values.tobytes()
    return DataSet(
        path,
        splits["train"],
        splits.get("test"),
        names,
        f"the user's function {path}",
        content_checksum(*kept.values(), others=others) if len(kept) == len(splits) else "",
        validation=splits.get("validation"),
        notes=notes,
        task=task or "classification",
        units=units,
    )


def _without(made: Any, role: str, name: str, path: str) -> tuple[Any, Any]:
    """Return what a function made without what examples are drawn by, and that."""
    table = cast("Mapping[str, Any]", made) if isinstance(made, Mapping) else {}
    if name in SPLITS or name not in table:
        got = f"one of {', '.join(map(quote, table))}" if table else type(made).__name__
        raise DataError(
            f"data.{role}: expected data.function {path} to return a table in which '{name}' has "
            f"one value for each training example, {{'train': ..., '{name}': ...}}, got {got}"
        )
    return {key: item for key, item in table.items() if key != name}, table[name]


def check_splits(made: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Return the data sets of a table by the names of their splits, the training split first.

    Args:
        made: What somebody gave as a table of splits; None stands for a split that is not there.
        where: What messages begin with.

    Raises:
        DataError: If a name is no split's, or the training split is missing.
    """
    for name in made:
        if name not in SPLITS:
            raise DataError(
                f"{where}: expected a table of the splits {', '.join(SPLITS)}, got {quote(name)}"
                f"{nearest(str(name), SPLITS)}"
            )
    if made.get("train") is None:
        raise DataError(
            f"{where}: expected a split 'train' among them, got "
            f"{', '.join(map(repr, made)) or 'an empty table'}"
        )
    return {name: made[name] for name in SPLITS if made.get(name) is not None}


def _parts(made: Any, path: str) -> dict[str, Any]:
    if isinstance(made, tuple):
        if len(made) != 2:
            raise DataError(
                f"data.function: {path}: expected {_FORMS}, got {len(made)} of them; name them in "
                "a table"
            )
        return {"train": made[0], **({} if made[1] is None else {"test": made[1]})}
    if isinstance(made, Mapping):
        return check_splits(made, f"data.function: {path}")
    return {"train": made}


def _check(part: Any, what: str, path: str) -> None:
    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__"):
        hint = "; return its .dataset" if hasattr(part, "dataset") else ""
        raise DataError(
            f"data.function: {path}: expected {_FORMS}, each with __len__ and __getitem__, got "
            f"{type(part).__name__} for {what}{hint}"
        )
    if not len(part):
        raise DataError(f"data.function: {path}: the data set for {what} is empty")


def _class_names(dataset: Any) -> tuple[str, ...]:
    """Return the names that torchvision's data sets have as `classes`, if they are there."""
    names = getattr(dataset, "classes", None)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
