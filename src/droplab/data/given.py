"""Examples that are at hand, as `droplab.sweep` is given them, made into splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from droplab.data._carve import carve
from droplab.data._function import check_splits
from droplab.data._items import PADDING, array_tensor, check_names, normal_dtype
from droplab.data._labels import name_classes, whole_numbers
from droplab.data._memory import as_split, guess_items
from droplab.data._targets import CLASSES_OF, guess_task, read_targets
from droplab.data.dataset import AnySplit, DataSet, Splits, content_checksum
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import Inputs
from droplab.errors import ArgumentError, DataError, nearest, quote
from droplab.recipe import TASKS, DataSpec, TaskName

Examples = Split | StreamedSplit | tuple[Any, Any] | Any
"""A split, a pair (inputs, targets) of tensors or arrays, or a map-style data set. Several inputs
are a tuple or a dict of tensors."""

_ARRAYS = (Tensor, np.ndarray, Mapping)
"""What a tuple of several inputs holds at least one of; a tuple of numbers is one array."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What the caller of a sweep gave.

    Attributes:
        splits: The splits, with what is to be noted of them.
        classes: Names of the classes; none if labels are streamed or there are none.
        task: What they are read for.
        guessed: Whether the training targets told the task.
        checksum: Of all splits; "" if one is streamed.
    """

    splits: Splits
    classes: tuple[str, ...]
    task: TaskName
    guessed: bool
    checksum: str


def read_given(
    train: Examples | Mapping[str, Examples],
    validation: Examples | None,
    folds: int | None,
    task: TaskName | None,
    *,
    check: Callable[[TaskName, Tensor, str], None],
    stop_on_fold: bool | None = False,
) -> Given:
    """Return the examples of all splits, read for their task.

    Args:
        train: Training examples, or all splits by their names.
        validation: Validation examples, where they stand by themselves.
        folds: Into how many folds the training examples are divided; None: into none.
        task: What targets are read for; None: those of the training split tell.
        check: Refuses the targets of a split that its task cannot use, given its name.
        stop_on_fold: Whether early stopping has a fold of its own to choose by.

    Raises:
        ArgumentError: If a split is missing, or inputs and targets do not fit together.
        DataError: If examples cannot be read.
    """
    parts, own = _parts(_given(train, validation, folds), task)
    kept = [part for part in parts.values() if isinstance(part, Split)]
    checksum = content_checksum(*kept) if len(kept) == len(parts) else ""
    if folds is None:
        splits = Splits(parts["train"], parts["validation"], parts.get("test"))
    else:
        spec = data_spec(folds, stop_on_fold=stop_on_fold)
        about = DataSet("train", parts["train"], parts.get("test"), (), "in memory", "", task=own)
        splits = carve(about, spec)
    classes, splits = _named(splits, own, check)
    return Given(splits, classes, own, task is None, checksum)


def data_spec(folds: int | None, *, stop_on_fold: bool | None) -> DataSpec:
    """Return what a recipe says of examples that are at hand."""
    return DataSpec(
        function="__main__:train_and_validation", folds=folds, stop_on_fold=stop_on_fold
    )


def _given(train: Any, validation: Any, folds: int | None) -> dict[str, Any]:
    """Return the examples of every split by its name."""
    if folds is not None:
        given = check_splits(train, "train") if isinstance(train, Mapping) else {"train": train}
        if validation is not None or "validation" in given:
            raise ArgumentError(
                "validation: expected either validation examples or a number of folds, got both"
            )
        return given
    if isinstance(train, Mapping):
        if validation is not None:
            raise ArgumentError(
                "validation: expected it in the table of splits that train is, got it twice"
            )
        given = check_splits(train, "train")
        if "validation" not in given:
            raise ArgumentError(
                "train: expected a split 'validation' among them, to compare the arms on, got "
                f"{', '.join(map(repr, given))}"
            )
        return given
    if validation is None:
        raise ArgumentError(
            "validation: expected examples to compare the arms on, got none; give them after "
            "train, both as {'train': ..., 'validation': ...}, or a number of folds"
        )
    return {"train": train, "validation": validation}


def _parts(given: Mapping[str, Any], task: TaskName | None) -> tuple[dict[str, AnySplit], TaskName]:
    """Return all splits, and the task that they are read for."""
    train = given["train"]
    if task is not None and task not in TASKS:
        raise ArgumentError(f"task: expected a task, got {quote(task)}{nearest(str(task), TASKS)}")
    if isinstance(train, tuple) and len(train) == 2:
        found = guess_task if task is None else None
        own = task if found is None else cast("TaskName", found(train[1], where="train"))
    elif isinstance(train, Split):
        own = task or cast("TaskName", guess_task(train.targets, where="train"))
    elif isinstance(train, StreamedSplit):
        own = task or cast("TaskName", train.task)
    elif task is None and hasattr(train, "__getitem__") and hasattr(train, "__len__"):
        own = cast("TaskName", guess_items(train, name="train")) if len(train) else None
    else:
        own = task
    own = own or "classification"
    parts = {name: _split(examples, name, own) for name, examples in given.items()}
    return parts, own


def _split(examples: Examples, where: str, task: TaskName) -> AnySplit:
    if isinstance(examples, StreamedSplit):
        return examples
    if isinstance(examples, Split):
        if task in CLASSES_OF or examples.targets.dtype == torch.float32:
            return examples
        targets = read_targets(examples.targets, task, where=where)
        return dataclasses.replace(examples, targets=targets)
    if isinstance(examples, tuple) and len(examples) == 2:
        try:
            if task in CLASSES_OF:
                targets = whole_numbers(examples[1], where=where)
            else:
                targets = read_targets(examples[1], task, where=where)
            return Split(_inputs(examples[0], where), targets)
        except ArgumentError as error:
            raise ArgumentError(f"{where}: {error}") from None
    if not hasattr(examples, "__getitem__") or not hasattr(examples, "__len__"):
        raise ArgumentError(
            f"{where}: expected (inputs, targets) or a map-style data set, got "
            f"{type(examples).__name__}"
        )
    if not len(examples):
        raise ArgumentError(f"{where}: expected at least one example, got none")
    return as_split(
        examples,
        name=where,
        classes=0,
        in_memory="auto",
        progress=lambda what, done, total: None,
        task=task,
    )


def _inputs(inputs: Any, where: str) -> Inputs:
    if isinstance(inputs, Tensor):
        return normal_dtype(inputs.detach().cpu())
    if isinstance(inputs, Mapping):
        check_names(inputs, f"{where} inputs")
        return {name: _inputs(each, f"{where} {name!r}") for name, each in inputs.items()}
    if isinstance(inputs, tuple) and any(isinstance(each, _ARRAYS) for each in inputs):
        return tuple(_inputs(each, f"{where} input {i}") for i, each in enumerate(inputs))
    try:
        array = np.asarray(inputs)
    except (TypeError, ValueError) as error:
        ragged = isinstance(inputs, list) and len({len(x) for x in inputs if _counts(x)}) > 1
        what = f"got sequences of unequal length; {PADDING}" if ragged else str(error)
        raise DataError(f"{where}: expected inputs of one shape (N, ...), {what}") from None
    return array_tensor(array, where=f"{where} inputs")


def _counts(sequence: Any) -> bool:
    """Whether something has a length; a tensor of one number has none."""
    return hasattr(sequence, "__len__") and getattr(sequence, "ndim", 1) > 0


def _named(
    splits: Splits, task: TaskName, check: Callable[[TaskName, Tensor, str], None]
) -> tuple[tuple[str, ...], Splits]:
    """Return the names of the classes, none if labels are streamed, and what is to be noted."""
    parts = [("train", splits.train), ("validation", splits.validation)]
    kept = [(name, part) for name, part in parts if isinstance(part, Split)]
    if not isinstance(splits.train, Split) or task not in CLASSES_OF:
        return (), splits
    targets, where = [p.targets.numpy() for _, p in kept], [f"{name} labels" for name, _ in kept]
    if splits.of_seed is None:
        for name, part in kept:
            check(task, part.targets, name)
    else:  # each fold is looked at by itself
        targets, where = [np.concatenate(targets)], where[:1]
    names, notes = name_classes(targets, (), where=where)
    return names, dataclasses.replace(splits, notes=(*splits.notes, *notes))
