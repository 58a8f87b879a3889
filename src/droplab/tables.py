"""Table files, read by pandas."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from droplab.errors import DataError
from droplab.files import check_fits, check_ordinary

DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
"""A number with a comma where Python has a point."""


def read_frame(path: Path, form: str, *, missing: Sequence[str] | None = None) -> Any:
    """Return the frame of a table file, its columns named by text.

    Args:
        path: The file.
        form: "csv", "tsv" or "parquet".
        missing: What marks a missing value, beside what pandas knows; None: text files are read as
            they are written, where "None" may be a name.

    Raises:
        DataError: If pandas is not installed, or the file is no table.
    """
    check_ordinary(path)
    check_fits(3 * path.stat().st_size, where=str(path))
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError:
        raise DataError(
            f"{path}: tables are read by pandas, which is not installed; "
            "pip install 'droplab[tables]'"
        ) from None
    try:
        if form == "parquet":
            frame = pandas.read_parquet(path)
        else:
            options: dict[str, Any] = {"low_memory": False, "skipinitialspace": True}
            options["sep"] = "\t" if form == "tsv" else _separator(path)
            options |= {"na_filter": False} if missing is None else {"na_values": list(missing)}
            frame = pandas.read_csv(path, **options)
            if not isinstance(frame.index, pandas.RangeIndex):
                with warnings.catch_warnings(action="ignore"):  # of the cells that it leaves out
                    straight = pandas.read_csv(path, index_col=False, **options)
                frame = _without_last(path, frame, straight)
            _check_twice(path, pandas.read_csv(path, header=None, nrows=1, dtype=str, **options))
    except ImportError:
        raise DataError(
            f"{path}: .parquet files need pyarrow, which is not installed; pip install pyarrow"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, got another encoding: {error}; save it as UTF-8"
        ) from None
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: cannot read this table: {first[0]}") from None
    if form != "parquet":
        _check_header(path, [str(name) for name in frame.columns])
        # a comma at the end of each line makes a column without a name
        frame = frame[[name for name in frame.columns if not _is_nothing(name, frame[name])]]
    return frame.rename(columns=str)


def _separator(path: Path) -> str:
    """Return what stands between the names in the first line: some write a semicolon, or a tab."""
    if path.suffix == ".gz":
        return ","
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    return max(",;\t|", key=lambda mark: line.count(mark.encode()))


def _without_last(path: Path, frame: Any, straight: Any) -> Any:
    """Return a table whose rows have more cells than its first line has names.

    pandas takes the first cells for names of the rows, which is right where they are such (R writes
    tables so) and moves every column where it is the last cell that is too many.

    Args:
        path: The file.
        frame: As pandas reads it.
        straight: As it reads it with the first cell under the first name.
    """
    last = frame.iloc[:, -1]
    if frame.index.nlevels == 1 and (last.isna() | (last.astype(str) == "")).all():
        return straight
    if frame.index.nlevels == 1 and frame.index.is_unique:
        return frame.reset_index(drop=True)
    raise DataError(
        f"{path}: expected as many cells in each row as names in the first line, "
        f"{frame.shape[1]}, got {frame.shape[1] + frame.index.nlevels}; add the names that are "
        "missing, or put text with commas into quotes"
    )


def _check_twice(path: Path, first: Any) -> None:
    """Check that no two columns have one name, which pandas would change."""
    names = [name for name in first.iloc[0].tolist() if isinstance(name, str) and name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column '{twice}' is there more than once; rename one")


def _is_nothing(name: Any, column: Any) -> bool:
    return str(name).startswith("Unnamed: ") and bool(
        (column.isna() | (column.astype(str) == "")).all()
    )


def _check_header(path: Path, names: list[str]) -> None:
    if names and all(_is_number(name) for name in names):
        raise DataError(
            f"{path}: expected the names of the columns in the first line, got numbers "
            f"({', '.join(names[:3])}); add a line of names"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
