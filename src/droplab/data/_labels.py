"""Labels as users save them, made into class numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from droplab.errors import DataError, nearest, quote
from droplab.limits import CLASSES


def class_numbers(
    labels: Sequence[np.ndarray], classes: Sequence[str], *, where: Sequence[str]
) -> tuple[list[Tensor], tuple[str, ...]]:
    """Return the labels of each split as int64 class numbers, and the names of the classes.

    Args:
        labels: One array a split, the training split first: whole numbers from 0, or names.
        classes: Names of the classes; empty: the labels tell, those of the training split if they
            are names, the largest number if they are numbers.
        where: What messages call each array.

    Raises:
        DataError: If labels are no vector, no whole numbers or names, or outside the classes.
    """
    flat = [_vector(array, where=place) for array, place in zip(labels, where, strict=True)]
    if flat[0].dtype.kind == "U":
        known = tuple(classes) or tuple(np.unique(flat[0]).tolist())
        numbers = [_from_names(*pair, known) for pair in zip(flat, where, strict=True)]
    else:
        numbers = [_from_numbers(*pair) for pair in zip(flat, where, strict=True)]
        count = max((int(array.max()) + 1 for array in numbers if len(array)), default=0)
        if count > CLASSES:  # an identifier, say, of which names would be made one by one
            raise DataError(
                f"{where[0]}: expected class numbers from 0 to {CLASSES - 1} at most, got "
                f"{count - 1}"
            )
        known = tuple(classes) or tuple(str(i) for i in range(count))
        for array, place in zip(numbers, where, strict=True):
            _within(array, known, where=place)
    if len(known) < 2:
        raise DataError(
            f"{where[0]}: expected at least two classes to tell apart, got "
            f"{len(known)}{f', {quote(known[0])}' if known else ''}"
        )
    return [torch.from_numpy(array) for array in numbers], known


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
    if array.dtype.kind not in "buifU":
        raise DataError(
            f"{where}: expected whole numbers or names, got dtype {array.dtype}; objects are never "
            "unpickled, since that can run code"
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
    whole = array.astype(np.int64) if array.dtype.kind != "f" else np.nan_to_num(array).astype("i8")
    wrong = np.flatnonzero((whole != array) | (whole < 0))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"{where}: expected class numbers, whole and from 0, got {array[i]} at example {i}"
        )
    return whole


def _within(array: np.ndarray, classes: Sequence[str], *, where: str) -> None:
    wrong = np.flatnonzero(array >= len(classes))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"{where}: expected class numbers from 0 to {len(classes) - 1}, for the {len(classes)} "
            f"classes, got {array[i]} at example {i}"
        )


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
