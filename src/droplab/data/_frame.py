"""The columns of a table file, read by pandas: numbers, or text that names categories."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from droplab.data._units import read_times
from droplab.errors import DataError, nearest, quote
from droplab.tables import DECIMAL_COMMA, read_frame

TABLES = ("csv", "tsv", "parquet")
"""Formats of tables."""

_MISSING = "?"
"""A mark of missing values that pandas does not know by itself, and many public tables have."""

_MOSTLY = 0.5
"""A column of text of which so many cells are numbers is a column of numbers with a fault."""

_SEVERAL = (np.ndarray, list, tuple, set, Mapping, bytes, bytearray)
"""What a cell may not be."""

_DRESSED = re.compile(r"-?[$€£]? ?-?\d+(,\d{3})*(\.\d+)? ?[%$€£]?")
"""A number with a sign of money or per cent, or with commas between its thousands."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
        name: As the file has it.
        values: int64 or float64 with NaN where a number is missing; or text, with "" there.
    """

    name: str
    values: np.ndarray

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.values.dtype.kind in "if"

    @property
    def missing(self) -> np.ndarray:
        """True where a value is missing, bool (N,)."""
        return np.isnan(self.values) if self.numeric else self.values == ""

    def as_text(self) -> Column:
        """Return the column with its numbers as names of categories."""
        if not self.numeric:
            return self
        return Column(self.name, np.where(self.missing, "", number_names(self.values)))


def number_names(values: np.ndarray) -> np.ndarray:
    """Return numbers as names, each number its own: 7 and 7.0 are "7".

    Example:
        >>> number_names(np.array([1000001.0, 1000002.0, 0.5])).tolist()
        ['1000001', '1000002', '0.5']
    """
    return np.array([repr(value).removesuffix(".0") for value in values.tolist()], dtype=str)


def read_columns(
    path: Path,
    form: str,
    *,
    missing: Sequence[str] = (),
    categorical: Sequence[str] = (),
    ignore: Sequence[str] = (),
    named: Mapping[str, Sequence[str]] | None = None,
) -> list[Column]:
    """Return the columns of a table file, in its order.

    Args:
        path: The file.
        form: One of `TABLES`.
        missing: What else marks a missing value.
        categorical: Columns that hold names, whatever they look like.
        ignore: Columns that are not read.
        named: Columns that have to be there, by the key of the recipe that names them; its `target`
            has to have a value.

    Raises:
        DataError: If pandas is not installed, the file is no table, or a number is none.
    """
    frame = read_frame(path, form, missing=[_MISSING, *missing])
    if not len(frame):
        raise DataError(f"{path}: expected rows below the names of the columns, got none")
    named = named or {}
    for key, names in {"categorical": categorical, "ignore": ignore, **named}.items():
        _check_there(names, frame.columns, path, key)
    for name in named.get("target", ()):
        if frame[name].isna().all():
            raise DataError(
                f"data.target: {path}: column '{name}': every value is missing; name a column that "
                "has values"
            )
    kept = [name for name in frame.columns if name not in ignore]
    return [_column(path, name, frame[name], name in categorical) for name in kept]


def _check_there(names: Sequence[str], columns: Sequence[str], path: Path, key: str) -> None:
    """Check that columns that are named are there.

    Raises:
        DataError: If one is not, with the nearest name.
    """
    for name in names:
        if name not in columns:
            raise DataError(f"data.{key}: {path} has no column '{name}'{nearest(name, columns)}")


def _column(path: Path, name: str, series: Any, categorical: bool) -> Column:
    kind = series.dtype.kind if isinstance(series.dtype, np.dtype) else "O"
    where = f"{path}: column '{name}'"
    if kind == "b" and not categorical:
        return Column(name, series.to_numpy().astype(np.int64))
    if getattr(series.dtype, "tz", None) is not None:
        series, kind = series.dt.tz_convert(None), "M"
    if kind == "M":
        return _finished(Column(name, _days(series.to_numpy())), where, categorical)
    if kind in "iuf":
        values = series.to_numpy()
        values = values.astype(np.float64 if kind == "f" else np.int64)
        return _finished(Column(name, values), where, categorical)
    gaps = series.isna().to_numpy(dtype=bool)
    objects = series.to_numpy(dtype=object, na_value="")
    odd = next((each for each in objects if isinstance(each, _SEVERAL)), None)
    if odd is not None:
        raise DataError(
            f"{where}: expected one number or one text in a cell, got {type(odd).__name__}; make "
            "columns of its parts, or name it in ignore"
        )
    cells = np.where(gaps, "", np.char.strip(objects.astype(str)))
    gaps = cells == ""
    if not categorical and not gaps.all():
        numbers = _numbers(cells, gaps, where)
        numbers = _dates(cells, gaps) if numbers is None else numbers
        if numbers is not None:
            return _finished(Column(name, numbers), where, categorical)
    return _finished(Column(name, cells), where, categorical)


def _days(times: np.ndarray) -> np.ndarray:
    """Return times as days since the beginning of 1970, NaN where there is none."""
    return (times - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")


def _dates(cells: np.ndarray, gaps: np.ndarray) -> np.ndarray | None:
    """Return texts as days where every one is a date; None otherwise."""
    try:
        found = read_times(cells[~gaps], "", dates=True)
    except DataError:
        return None
    days = np.full(len(cells), np.nan)
    days[~gaps] = _days(found)
    return days


def _finished(column: Column, where: str, categorical: bool) -> Column:
    if column.missing.all():
        raise DataError(f"{where}: every value is missing; name it in ignore")
    if column.numeric and not categorical:
        wild = np.isinf(column.values)
        if wild.any():
            raise DataError(
                f"{where}: expected finite numbers, got {column.values[wild][0]} in row "
                f"{int(wild.argmax()) + 1}"
            )
    return column.as_text() if categorical else column


def _numbers(cells: np.ndarray, gaps: np.ndarray, where: str) -> np.ndarray | None:
    """Return text as numbers where it is meant as such; None if it names categories."""
    pandas: Any = importlib.import_module("pandas")
    numbers = pandas.to_numeric(pandas.Series(cells), errors="coerce").to_numpy(dtype=np.float64)
    faults = np.isnan(numbers) & ~gaps
    if not faults.any():
        return numbers
    present = int((~gaps).sum())
    i = int(faults.argmax())
    if all(DECIMAL_COMMA.fullmatch(cell) for cell in cells[~gaps][:100].tolist()):
        raise DataError(
            f"{where}: expected numbers with a decimal point, got {quote(str(cells[i]))} in row "
            f"{i + 1}; save it with points, or name it in categorical"
        )
    if all(_DRESSED.fullmatch(cell) for cell in cells[~gaps].tolist()):
        raise DataError(
            f"{where}: expected plain numbers, got {quote(str(cells[i]))} in row {i + 1}; save it "
            "without signs and without commas, or name it in categorical"
        )
    if int(faults.sum()) > (1 - _MOSTLY) * present:
        return None
    raise DataError(
        f"{where}: expected numbers, as {present - int(faults.sum())} of its {present} values are, "
        f"got {quote(str(cells[i]))} in row {i + 1}; if that marks a missing value, name it in "
        "missing; if the column holds names, name it in categorical"
    )
