"""Targets that are no class numbers, and which task targets leave no doubt about."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from droplab.errors import DataError, quote
from droplab.recipe import TARGETS, TASKS, Targets

CLASSES_OF = ("classification", "binary")
"""Tasks whose targets are class numbers, one an example."""

_EACH = 3
"""Of whole numbers as floats: so many examples have the same one, on average, if it may be a class.
"""


def guess_task(targets: Any, *, where: str) -> str:
    """Return the task that targets speak of.

    Names, whole numbers of shape (N,), and floats that count classes from 0 or 1 without a gap are
    classes. Other floats are quantities, of shape (N,) if some are not whole or few are alike, and
    of shape (N, D). 0 and 1 of shape (N, L) are
    labels, unless every row has exactly one 1. Other whole numbers of shape (N, T) are tokens.

    Args:
        targets: A tensor or an array, of the training split.
        where: What the message calls it.

    Raises:
        DataError: If it is not certain.

    Example:
        >>> guess_task(np.array([0.5, -1.2]), where="y"), guess_task([[0, 1], [1, 1]], where="y")
        ('regression', 'multilabel')
    """
    array = _array(targets)
    if array.dtype.kind not in "buif" or array.size == 0 or array.ndim not in (1, 2):
        return "classification"  # names; whatever else it is, class numbers have the words for it
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        if array.dtype.kind != "f" or _counts(array):
            return "classification"
        whole = np.isfinite(array).all() and (array == np.rint(array)).all()
        if not whole or len(array) < _EACH * len(np.unique(array)):
            return "regression"  # which has the words for what is not finite, too
        raise _uncertain(
            where,
            f"whole numbers, {array.min():g} to {array.max():g}, some left out",
            "if they are classes, give task = 'classification'; if they are quantities, give "
            "task = 'regression'",
        )
    bits = bool(np.isin(array, (0, 1)).all())
    if bits and not (array.sum(1) == 1).all():
        return "multilabel"
    if not bits:
        return "regression" if array.dtype.kind == "f" else "tokens"
    choices = ", ".join(f"'{name}'" for name in TASKS)
    raise _uncertain(
        where,
        f"0 and 1 of shape {array.shape}, a single 1 in every row",
        "if they are one-hot vectors, save labels.argmax(1) instead, else give the task, one of "
        + choices,
    )


def _uncertain(where: str, got: str, then: str) -> DataError:
    return DataError(f"{where}: expected targets that tell what is learned, got {got}; {then}")


def read_targets(targets: Any, task: str, *, where: str) -> Tensor:
    """Return targets of a task whose targets are no class numbers as its loss takes them.

    Args:
        targets: A tensor, an array, or what numpy makes an array of.
        task: Its targets are as `droplab.recipe.TARGETS` has them; (N, 1) is taken for (N,) where
            that is a shape of them.
        where: What messages call it.

    Raises:
        DataError: If the targets do not fit the task.
    """
    array, form = _array(targets), TARGETS[task]
    if 1 in form.dimensions and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    problem = _problem(array, form)
    if problem:
        wanted = f"{form.values} of shape {form.shape}"
        raise DataError(f"{where}: expected {wanted}, for task = '{task}', got {problem}")
    return torch.from_numpy(np.ascontiguousarray(array.astype(form.dtype)))


def _problem(array: np.ndarray, form: Targets) -> str:
    """Say what does not fit; "" if all does."""
    if array.dtype.kind == "U" and array.size:
        return f"names, {quote(str(array.flat[0]))} for example"
    if array.dtype.kind not in "buif":
        return f"dtype {array.dtype}"
    if array.ndim not in form.dimensions:
        return f"shape {array.shape}"
    if form.values == "whole numbers":
        whole = array.dtype.kind in "iu" or bool((np.trunc(array) == array).all())
        return "" if whole else f"numbers such as {array.flat[0]}"
    with np.errstate(over="ignore"):  # what float32 does not hold is told below
        finite = np.isfinite(array.astype(np.float32))
    good = np.isin(array, (0, 1)) if form.values == "0 and 1" else finite
    if good.all():
        return ""
    place = tuple(int(i) for i in np.argwhere(~good)[0])
    value = array[place]
    hint = "; leave examples without a target out" if value != value else ""
    return f"{value} at example {place[0]}{hint}"


def _counts(array: np.ndarray) -> bool:
    """Whether floats are class numbers: from 0 or 1 on, whole, and none is left out."""
    known = np.unique(array[np.isfinite(array)])
    return len(known) == 0 or (
        known[0] in (0, 1) and bool((known == np.arange(len(known)) + known[0]).all())
    )


def _array(targets: Any) -> np.ndarray:
    if isinstance(targets, Tensor):
        targets = targets.detach().cpu()
        targets = targets.float() if targets.dtype == torch.bfloat16 else targets
    return np.asarray(targets)
