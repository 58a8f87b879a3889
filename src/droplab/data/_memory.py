"""Deciding whether a map-style data set is kept in memory, and reading it in."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droplab.data._items import (
    as_input,
    as_target,
    as_value,
    check_alike,
    gather,
    raw_target,
    stacked,
)
from droplab.data._progress import Progress
from droplab.data._targets import CLASSES_OF, guess_task
from droplab.data.dataset import AnySplit
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import Inputs, alike, leaves
from droplab.errors import DataError
from droplab.files import fits

PROBES = 64
"""Items that are asked for twice. If an item comes out different with probability q each time,
a random data set passes for a fixed one with probability (1 - q) ** 64: 0.1 % at q = 0.1."""


def as_split(
    dataset: Any,
    *,
    name: str,
    classes: int,
    in_memory: bool | str,
    progress: Progress,
    task: str | None = None,
) -> AnySplit:
    """Return a map-style data set as a split, in memory or streamed.

    Args:
        dataset: Has `__len__` and `__getitem__`, and at least one item.
        name: What the progress calls it.
        classes: How many classes there are; 0 if unknown.
        in_memory: True, False, or "auto": in memory if it fits and its items repeat.
        progress: Told how far it is.
        task: What targets are read for; None: they tell, see `guess_items`.

    Raises:
        DataError: If an item is not (input, class number), or items differ in shape.
    """
    count = len(dataset)
    task = task or guess_items(dataset, name=name)
    streamed = StreamedSplit(dataset, torch.arange(count), classes, task=task)
    if in_memory == "auto":
        # Trying items must not shift what the user draws from torch's default generator.
        with torch.random.fork_rng(devices=[]):
            nbytes = sum(tensor.nbytes for tensor in leaves(as_input(dataset[0], 0)))
            in_memory = fits(count * nbytes) and repeats(dataset, count, task=task)
    if not in_memory:
        return streamed
    inputs: list[Inputs] = []
    targets: list[int | Tensor] = []
    for i in range(count):
        item = dataset[i]
        inputs.append(as_input(item, i))
        targets.append(_target(item, i, classes, task))
        check_alike(inputs[0], inputs[i], 0, i)
        if i % 256 == 0:
            progress(f"reading {name}", i, count)
    progress(f"reading {name}", count, count)
    return Split(gather(inputs), stacked(targets))


def guess_items(dataset: Any, *, name: str) -> str:
    """Return the task that the targets of some items speak of, without drawing from torch.

    Raises:
        DataError: If it is not certain.
    """
    with torch.random.fork_rng(devices=[]):
        first = raw_target(dataset[0], 0)
        try:
            plain: Any = first.item() if isinstance(first, (Tensor, np.ndarray)) else first
            operator.index(plain)
        except (TypeError, ValueError, RuntimeError):
            pass
        else:
            return "classification"
        if isinstance(first, (bool, str, bytes)) or first is None:
            return "classification"  # which says what is wrong with it
        step = max(1, len(dataset) // PROBES)
        try:
            some = [np.asarray(raw_target(dataset[i], i)) for i in range(0, len(dataset), step)]
            return guess_task(np.stack(some), where=name)
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            return "classification"


def _target(item: Any, index: int, classes: int, task: str) -> int | Tensor:
    if task in CLASSES_OF:
        return as_target(item, index, classes)
    return as_value(item, index, task)


def repeats(
    dataset: Any, count: int, *, probes: int = PROBES, task: str = "classification"
) -> bool:
    """Return whether items come out equal when they are asked for twice."""
    step = max(1, count // probes)
    for i in range(0, count, step):
        one, two = dataset[i], dataset[i]
        same = _target(one, i, 0, task), _target(two, i, 0, task)
        inputs = as_input(one, i), as_input(two, i)
        if not torch.equal(*map(torch.as_tensor, same)) or not alike(*inputs):
            return False
        if not all(map(_equal, *map(leaves, inputs))):
            return False
    return True


def _equal(one: Tensor, two: Tensor) -> bool:
    if torch.equal(one, two):
        return True
    floats = one.is_floating_point()  # of which NaN does not equal itself
    return floats and bool(torch.isclose(one, two, rtol=0, atol=0, equal_nan=True).all())
