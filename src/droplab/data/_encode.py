"""Columns of a table as the numbers that a network takes, fitted on training rows alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from droplab.data._frame import Column
from droplab.data.dataset import Columns


class Encoder:
    """Columns of a table, ready to be fitted on any training rows.

    A number x becomes (x - mean) / sd, both over the training rows; where it is missing, 0, and
    a column that is missing in known rows gets a second one, 1 where it is. A name becomes its
    place, from 1, among the names in the known rows, in their order; 0 is a name that training
    never saw. Numbers come first, then the columns that mark what is missing, then the names.

    Args:
        columns: The columns to learn from.
        known: Numbers of the rows that decide how long an input is and how many names a column
            has: the training rows; of several choices of them, those that all choose from, since
            all have the same network.

    Attributes:
        columns: What the numbers of an input stand for.
    """

    def __init__(self, columns: Sequence[Column], known: np.ndarray) -> None:
        self._numeric = [column for column in columns if column.numeric]
        self._marked = [column for column in self._numeric if column.missing[known].any()]
        named = [column for column in columns if not column.numeric]
        self._known = known
        self._places = [_places(column, known) for column in named]
        marks = (f"{column.name} is missing" for column in self._marked)
        self.columns = Columns(
            (*(column.name for column in self._numeric), *marks),
            {column.name: n for column, (n, _) in zip(named, self._places, strict=True)},
        )

    def fitted(self, train: np.ndarray) -> np.ndarray:
        """Return all rows as inputs, float32 (N, width), fitted on these training rows."""
        ready = [_scaled(column, train) for column in self._numeric]
        marks = [column.missing for column in self._marked]
        places = [np.where(_seen(place, train), place, 0) for _, place in self._places]
        return np.stack([*ready, *marks, *places], axis=1).astype(np.float32)

    def notes(self) -> list[str]:
        """Say what is odd about the columns, and what became of gaps and names."""
        notes = [
            f"Column '{column.name}' is the same in all training rows."
            for column in self._numeric
            if _scale(column, self._known)[1] == 0
        ]
        if self._marked:
            notes.append(
                "Missing numbers count as the mean of the training rows, and a column of its own "
                f"marks them: {', '.join(column.name for column in self._marked)}."
            )
        names = self.columns.categories
        if names:
            told = ", ".join(f"{name} ({n})" for name, n in names.items())
            notes.append(f"Columns of names, with so many in the training rows: {told}.")
        return notes


def _scale(column: Column, train: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation over the training rows that have a number."""
    known = column.values.astype(np.float64)[train][~column.missing[train]]
    return (known.mean(), known.std()) if len(known) else (0.0, 0.0)


def _scaled(column: Column, train: np.ndarray) -> np.ndarray:
    mean, sd = _scale(column, train)
    scaled = (column.values.astype(np.float64) - mean) / (sd or 1.0)
    return np.where(column.missing, 0.0, scaled)


def _places(column: Column, known: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many names the known rows have, and the place of each row's, from 1."""
    levels = np.unique(column.values[known])
    found = np.searchsorted(levels, column.values).clip(0, len(levels) - 1)
    return len(levels), np.where(levels[found] == column.values, found + 1, 0)


def _seen(place: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return whether the training rows have the name at each row's place."""
    there = np.zeros(int(place.max(initial=0)) + 1, dtype=bool)
    there[place[train]] = True
    return there[place]
