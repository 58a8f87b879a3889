"""Columns of a table as the numbers that a network takes, fitted on training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from droplab.data._frame import Column
from droplab.data.dataset import Columns


def encoder(
    columns: Sequence[Column], train: np.ndarray
) -> tuple[Callable[[np.ndarray], Tensor], Columns, list[str]]:
    """Return what encodes rows, what its numbers stand for, and notes.

    A number x becomes (x - mean) / sd, both over the training rows; where it is missing, 0, and
    a column that is missing in training rows gets a second one, 1 where it is. A name becomes its
    place, from 1, among the names in the training rows, in their order; 0 is a name that training
    never saw. Numbers come first, then the columns that mark what is missing, then the names.

    Args:
        columns: The columns to learn from.
        train: Numbers of the training rows.
    """
    numeric, named = [c for c in columns if c.numeric], [c for c in columns if not c.numeric]
    ready: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    places: list[np.ndarray] = []
    names, marked, sizes, notes = [c.name for c in numeric], [], [], []
    for column in numeric:
        values = column.values.astype(np.float64)
        known = values[train][~column.missing[train]]
        mean, sd = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
        if sd == 0:
            notes.append(f"Column '{column.name}' is the same in all training rows.")
        scaled = (values - mean) / (sd or 1.0)
        ready.append(np.where(column.missing, 0.0, scaled))
        if column.missing[train].any():
            marks.append(column.missing)
            marked.append(column.name)
    for column in named:
        levels, place = _places(column, train)
        places.append(place)
        sizes.append(levels)
    if marked:
        notes.append(
            f"Missing numbers count as the mean of the training rows, and a column of its own "
            f"marks them: {', '.join(marked)}."
        )
    if named:
        told = ", ".join(f"{c.name} ({n})" for c, n in zip(named, sizes, strict=True))
        notes.append(f"Columns of names, with so many in the training rows: {told}.")
    table = np.stack([*ready, *marks, *places], axis=1).astype(np.float32)
    known = Columns(
        (*names, *(f"{name} is missing" for name in marked)),
        {column.name: size for column, size in zip(named, sizes, strict=True)},
    )
    return lambda rows: torch.from_numpy(table[rows]), known, notes


def _places(column: Column, train: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many names the training rows have, and the place of each row's, from 1."""
    levels = np.unique(column.values[train])
    found = np.searchsorted(levels, column.values).clip(0, len(levels) - 1)
    return len(levels), np.where(levels[found] == column.values, found + 1, 0)
