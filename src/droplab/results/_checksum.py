"""The checksum of a closed run: a value that changes on the disk afterwards is noticed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from droplab.errors import RunError
from droplab.results._schema import has_answers, has_columns, has_parts

_NAME = "checksum"
_TABLES = {
    "run": "name",
    "members": "position",
    "epochs": "arm, seed, epoch",
    "epoch_values": "arm, seed, epoch, metric",
    "batches": "arm, seed, step",
    "tests": "arm, seed",
    "test_values": "arm, seed, metric",
    "notes": "name",
    "blocks": "arm, seed, epoch",
    "examples": "arm, seed",
    "stopped_test_values": "arm, seed, metric",
    "confidence_bins": "arm, seed, bin",
    "class_counts": "arm, seed, class",
}
"""Every table of some layout, with the order of its rows."""

_NEW, _EARLIER = ("epoch_values", "test_values"), ("tests",)
"""Those that only the layouts from 3 on have, and those that only the ones before have."""

_PARTS = ("blocks", "examples", "stopped_test_values")
"""Those that only the layouts from 4 on have."""

_ANSWERS = ("confidence_bins", "class_counts")
"""Those that only the layouts from 5 on have."""

_text = json.JSONEncoder(default=bytes.hex).encode  # one for all rows: `dumps` makes one for each


def write_checksum(sql: sqlite3.Connection) -> None:
    """Keep the checksum of all that is in the tables now."""
    sql.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (_NAME, _checksum(sql)))


def remove_checksum(sql: sqlite3.Connection) -> None:
    """Take the checksum away, before anything is written."""
    sql.execute("DELETE FROM run WHERE name = ?", (_NAME,))


def check_checksum(sql: sqlite3.Connection, path: Path) -> None:
    """Raise a RunError if the run was closed and its values are not those of that moment.

    SQLite's own check looks at the structure of a file, not at the values in it.
    """
    found = sql.execute("SELECT value FROM run WHERE name = ?", (_NAME,)).fetchone()
    if found is not None and found[0] != _checksum(sql):
        raise RunError(
            f"{path}: a value in it is not what droplab wrote (its checksum differs); restore it "
            "from a copy. If it was changed on purpose, delete the row 'checksum' of table 'run'"
        )


def _checksum(sql: sqlite3.Connection) -> str:
    digest = hashlib.sha256()
    other = set(_NEW if has_columns(sql) else _EARLIER)
    other.update(() if has_parts(sql) else _PARTS, () if has_answers(sql) else _ANSWERS)
    for table, order in _TABLES.items():
        if table in other:
            continue
        digest.update(f"{table}\n".encode())
        for row in sql.execute(f"SELECT * FROM {table} ORDER BY {order}"):
            if row[0] != _NAME or table != "run":
                digest.update(f"{_text(row)}\n".encode())
    return digest.hexdigest()
