"""Table files, read by pandas."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from droplab.errors import DataError
from droplab.files import check_fits, check_ordinary


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
            mark = "\t" if form == "tsv" else _separator(path)
            options: dict[str, Any] = {"low_memory": False, "skipinitialspace": True}
            options |= {"na_filter": False} if missing is None else {"na_values": list(missing)}
            frame = pandas.read_csv(path, sep=mark, **options)
    except ImportError:
        raise DataError(
            f"{path}: .parquet files need pyarrow, which is not installed; pip install pyarrow"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got another encoding: {error}") from None
    except Exception as error:  # a damaged file fails in many ways
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: cannot read this table: {first[0]}") from None
    if form != "parquet":
        _check_header(path, [str(name) for name in frame.columns])
    return frame.rename(columns=str)


def _separator(path: Path) -> str:
    """Return what stands between the names in the first line: some write a semicolon."""
    if path.suffix == ".gz":
        return ","
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    return ";" if line.count(b";") > line.count(b",") else ","


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
