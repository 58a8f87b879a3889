"""Labels as users save them, made into class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droplab.errors import DataError, nearest
from droplab.limits import CLASSES


def class_numbers(
    labels: Sequence[np.ndarray], classes: Sequence[str], *, where: Sequence[str]
) -> tuple[list[Tensor], tuple[str, ...], tuple[str, ...]]:
    """Return the labels of each split as int64 class numbers, the names of the classes, and notes.

    Args:
        labels: One array a split, the training split first: whole numbers from 0, or names.
        classes: Names of the classes; empty: the labels tell, those of the training split if they
            are names, the largest number if they are numbers.
        where: What messages call each array.

    Raises:
        DataError: If labels are no vector, no whole numbers or names, or outside the classes; if
            they begin above 0, fewer than two classes occur, or names are doubled.
    """
    check_class_names(classes, where="data.arguments.classes")
    flat = [_vector(array, where=place) for array, place in zip(labels, where, strict=True)]
    if flat[0].dtype.kind == "U":
        found = np.unique(flat[0]).tolist()
        known = tuple(classes) or tuple(found)
        numbers = [_from_names(*pair, known) for pair in zip(flat, where, strict=True)]
        check_count(len(found), where=where[0], got=found[0] if found else None)
        notes: tuple[str, ...] = ()
    else:
        numbers = [_from_numbers(*pair) for pair in zip(flat, where, strict=True)]
        known, notes = name_classes(numbers, classes, where=where)
    return [torch.from_numpy(array) for array in numbers], known, notes


def whole_numbers(labels: Any, *, where: str) -> Tensor:
    """Return labels of any number type as int64 class numbers; they are the same numbers or none.

    Args:
        labels: A tensor, an array, or what numpy makes an array of, of shape (N,) or (N, 1).
        where: What messages call it.

    Raises:
        DataError: If they are no vector of whole numbers from 0 to 65 535.
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.float() if labels.dtype == torch.bfloat16 else labels
    array = _vector(np.asarray(labels), where=where)
    if array.dtype.kind == "U":
        raise DataError(
            f"{where}: expected class numbers, got names such as {str(array[:1])[:60]}; number "
            "them with numpy.unique(names, return_inverse=True)[1]"
        )
    return torch.from_numpy(_from_numbers(array, where))


def name_classes(
    numbers: Sequence[np.ndarray], classes: Sequence[str], *, where: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the classes that numbers speak of, and what is to be noted about them.

    Args:
        numbers: Class numbers from 0, one array a split, the training split first.
        classes: Names of the classes; empty: "0", "1" and so on to the largest number.
        where: What messages call each array.

    Raises:
        DataError: As for `class_numbers`.
    """
    for array, place in zip(numbers, where, strict=True):
        if classes and len(array):
            _within(array, classes, where=place)
    every = np.unique(np.concatenate([np.unique(array) for array in numbers]))
    trained = np.unique(numbers[0])
    check_count(len(trained), where=where[0], got=int(trained[0]) if len(trained) else None)
    if classes:
        return tuple(classes), ()
    lowest, count = int(every[0]), int(every[-1]) + 1
    if lowest > 0:
        raise DataError(
            f"{where[0]}: expected class numbers from 0, got labels that begin at {lowest} "
            f"({lowest} to {count - 1}); subtract {lowest} from all of them"
        )
    known = tuple(map(str, range(count)))
    if len(every) == count:
        return known, ()
    missing = np.setdiff1d(np.arange(count), every)
    listed = ", ".join(map(str, missing[:5].tolist())) + (" and more" if len(missing) > 5 else "")
    return known, (
        f"The labels go from 0 to {count - 1}, and {len(missing)} of these {count} numbers do not "
        f"occur ({listed}). If the classes have gaps between their numbers, number them anew with "
        "numpy.unique(labels, return_inverse=True)[1].",
    )


def check_count(count: int, *, where: str, got: object) -> None:
    """Check that there are two classes or more to tell apart in the training split."""
    if count < 2:
        raise DataError(
            f"{where}: expected at least two classes to tell apart, got "
            f"{'no labels' if got is None else f'only {got!r}'}"
        )


def check_class_names(classes: Sequence[str], *, where: str) -> None:
    """Check that no two classes have one name: their rows could not be told apart."""
    seen: set[str] = set()
    for name in classes:
        if name in seen:
            raise DataError(
                f"{where}: expected a name of its own for each class, got {name!r} twice; two "
                "classes of one name cannot be told apart"
            )
        seen.add(name)


def outside(number: object, where: str, *, at: int | None = None, classes: int = 0) -> str:
    """Return what is wrong with a label that is no class number, and what to do.

    Args:
        number: The label.
        where: What the message calls its place.
        at: The example that has it; None if the place says so.
        classes: How many classes there are; 0 if unknown.
    """
    top = f"from 0 to {classes - 1}, for the {classes} classes" if classes else "whole and from 0"
    text = f"{where}: expected class numbers, {top}, got {number}"
    text += "" if at is None else f" at example {at}"
    if not isinstance(number, int):
        return f"{text}; a quantity cannot be a class: to learn it, give task = 'regression'"
    if number < 0:
        return f"{text}; if it marks examples that have no label, leave these out"
    if classes and number == classes:
        return f"{text}; if the labels begin at 1, subtract 1 from all of them"
    if number >= CLASSES:
        return (
            f"{text}, and no more than {CLASSES} classes; if this is a column of ids, take "
            "the column of labels instead"
        )
    return text


def _vector(array: np.ndarray, *, where: str) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise DataError(
            f"{where}: expected class numbers of shape (N,), got {array.shape}; if they are "
            "one-hot vectors, save labels.argmax(1) instead"
        )
    if array.ndim != 1:
        raise DataError(f"{where}: expected class numbers of shape (N,), got {array.shape}")
    if array.dtype.kind == "S":
        raise DataError(
            f"{where}: expected whole numbers or names, got bytes ({array.dtype}); save names as "
            "text with labels.astype(str)"
        )
    if array.dtype.kind not in "buifU":
        raise DataError(
            f"{where}: expected whole numbers or names, got dtype {array.dtype}"
            + ("; objects are never unpickled, since that can run code" * (array.dtype.kind == "O"))
        )
    if array.dtype.kind == "U":
        try:
            array.tolist()
        except (SystemError, ValueError):  # numbers that are no letters, from a damaged file
            raise DataError(f"{where}: expected names, got text that is damaged") from None
    return array


def _from_numbers(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind == "U":
        raise DataError(f"{where}: expected class numbers as in the training split, got names")
    # Compared in the array's own type: what does not fit into int64 would be another number there.
    # Half floats do not reach as far as the classes.
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    with np.errstate(invalid="ignore"):
        good = (array >= 0) & (array < CLASSES)
        if array.dtype.kind == "f":
            good &= np.trunc(array) == array
    if not good.all():
        i = int(np.flatnonzero(~good)[0])
        value = array[i].item()
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        raise DataError(outside(value, where, at=i))
    return array.astype(np.int64)


def _within(array: np.ndarray, classes: Sequence[str], *, where: str) -> None:
    wrong = np.flatnonzero(array >= len(classes))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(outside(int(array[i]), where, at=i, classes=len(classes)))


def _from_names(array: np.ndarray, where: str, classes: Sequence[str]) -> np.ndarray:
    if array.dtype.kind != "U":
        raise DataError(f"{where}: expected class names as in the training split, got numbers")
    number = {name: i for i, name in enumerate(classes)}
    for i, name in enumerate(array.tolist()):
        if name not in number:
            raise DataError(
                f"{where}: '{name}' at example {i} is not among the classes{nearest(name, classes)}"
            )
    return np.array([number[name] for name in array.tolist()], dtype=np.int64)
