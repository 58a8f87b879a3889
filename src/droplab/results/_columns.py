"""The columns of a table of results, from a file, a frame or a list."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from droplab.documents import DocumentError, parse_json
from droplab.errors import ArgumentError, DataError, nearest, quote
from droplab.files import check_fits, check_ordinary
from droplab.numeric import real
from droplab.tables import DECIMAL_COMMA, read_frame

_FRAMES = ("csv", "tsv", "parquet")
_NO_NUMBER = ("na", "n/a", "none", "null", "-", "?")
"""What files write in a column of numbers where there is none."""
_LINES = ("jsonl", "ndjson", "json")


@dataclass(frozen=True)
class Columns:
    """A table of results by column.

    Args:
        where: What messages call it: the file, or "the table".
        cells: Name of each column -> its cells, all of one length.
    """

    where: str
    cells: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, rows: Any) -> Columns:
        """Read a table.

        Args:
            rows: The path of a file, a pandas frame, or one mapping a row.

        Raises:
            DataError: If the file cannot be read.
            ArgumentError: If `rows` is no table, or has no rows.
        """
        if isinstance(rows, (str, os.PathLike)):
            path = Path(cast("str", rows)).expanduser()
            found = cls(str(path), _of_file(path))
        elif hasattr(rows, "columns") and hasattr(rows, "reset_index"):
            found = cls("the table", _of_frame(rows, "the table"))
        elif isinstance(rows, Iterable) and not isinstance(rows, (Mapping, bytes)):
            found = cls("the table", _of_mappings(cast("Iterable[Any]", rows), "the table"))
        else:
            raise ArgumentError(
                "rows: expected a file, a pandas frame or one mapping a row, got "
                f"{quote(cast('object', rows))}"
            )
        if not any(map(len, found.cells.values())):
            raise ArgumentError(f"{found.where}: expected one row for each trial, got no rows")
        return found

    def check(self, name: str, key: str) -> None:
        """Check that a column is there; `key` is what it was asked for as.

        Raises:
            ArgumentError: If it is not, with the nearest name.
        """
        if name not in self.cells:
            hint = nearest(str(name), self.cells)
            raise ArgumentError(f"{key}: {self.where} has no column {quote(name)}{hint}")

    def numbers(self, name: str) -> list[float]:
        """Return a column of numbers, NaN where there is none.

        Raises:
            ArgumentError: If a cell is something else.
        """
        found: list[float] = []
        for row, cell in enumerate(self.cells[name], start=1):
            none = is_missing(cell) or (isinstance(cell, str) and cell.lower() in _NO_NUMBER)
            value = math.nan if none else as_number(cell)
            if value is None:
                comma = isinstance(cell, str) and DECIMAL_COMMA.fullmatch(cell.strip())
                numbers = "numbers with a decimal point" if comma else "numbers"
                raise ArgumentError(
                    f"{self.where}: expected {numbers} in column '{name}', got {quote(cell)} in "
                    f"row {row}"
                )
            found.append(value)
        return found

    def missing(self, name: str) -> int | None:
        """Return the first row without a value in a column, from 1; None if all have one."""
        return next((i for i, c in enumerate(self.cells[name], 1) if is_missing(c)), None)


def is_missing(cell: Any) -> bool:
    """Return whether a cell is empty."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return not cell.strip() if isinstance(cell, str) else isinstance(cell, float) and cell != cell


def as_number(cell: Any) -> float | None:
    """Return the number that a cell holds, as such or as text; None if it holds none.

    Example:
        >>> as_number("0.30"), as_number(2), as_number(True), as_number("light")
        (0.3, 2.0, None, None)
    """
    if isinstance(cell, str):
        try:
            return float(cell)
        except ValueError:
            return None
    number = real(cell)
    try:
        return None if number is None else float(number)
    except OverflowError:
        return None


def _of_file(path: Path) -> dict[str, list[Any]]:
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings)
        raise DataError(f"{path}: there is no such file{hint if 'did you mean' in hint else ''}")
    form = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if form in _FRAMES:
        return _of_frame(read_frame(path, form), str(path))
    if form in _LINES and not path.name.lower().endswith(".gz"):
        return _of_mappings(_objects(path), str(path))
    raise DataError(
        f"{path}: expected results as .csv, .tsv, .parquet or .jsonl, one row a line; rename the "
        "file if it is one of them"
    )


def _objects(path: Path) -> Iterable[Any]:
    check_ordinary(path)
    check_fits(10 * path.stat().st_size, where=str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got another encoding: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield parse_json(line)
        except DocumentError as error:
            raise DataError(
                f"{path}, line {number}: expected one JSON object a line, got {error}"
            ) from None


def _of_mappings(rows: Iterable[Any], where: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for count, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ArgumentError(
                f"{where}: expected one mapping a row, column to value, got {quote(row)} in row "
                f"{count + 1}"
            )
        for name, cell in cast("Mapping[Any, Any]", row).items():
            column = found.setdefault(str(name), [None] * count)
            if len(column) == count:  # a name that two keys share keeps its first value
                column.append(cell)
        for column in found.values():
            column.extend([None] * (count + 1 - len(column)))
    return found


def _of_frame(frame: Any, where: str) -> dict[str, list[Any]]:
    """Return the columns of a pandas frame; an index that has a name is one, too."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(f"{where}: column '{twice}' is there more than once; rename one")
    return {name: frame.iloc[:, i].tolist() for i, name in enumerate(names)}
