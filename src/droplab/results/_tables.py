"""Rows into tables and back; what a column or a NULL means is known here alone."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import astuple, fields
from typing import Any, TypeVar, cast

from droplab.documents import parse_json
from droplab.errors import RunError, quote
from droplab.results._rows import BatchRow, EpochRow, Member, TestRow

T = TypeVar("T")

_EPOCH = ", ".join(f.name for f in fields(EpochRow))
_EPOCH_JOINED = ", ".join(f"e.{f.name}" for f in fields(EpochRow))
_MARKS = ", ".join("?" for _ in fields(EpochRow))
_ORDER = "JOIN members m USING (arm, seed) ORDER BY m.position"


def insert_epoch(sql: sqlite3.Connection, row: EpochRow) -> None:
    sql.execute(f"INSERT INTO epochs ({_EPOCH}) VALUES ({_MARKS})", astuple(row))


def epoch(sql: sqlite3.Connection, arm: str, seed: int, number: int) -> EpochRow:
    found = sql.execute(
        f"SELECT {_EPOCH} FROM epochs WHERE arm = ? AND seed = ? AND epoch = ?",
        (arm, seed, number),
    ).fetchone()
    if found is None:
        raise RunError(
            f"arm '{arm}', seed {seed}, epoch {number}: the run counts this epoch as done but has "
            "no row of it; restore the run from a copy"
        )
    return _epoch(found)


def epochs(sql: sqlite3.Connection) -> tuple[EpochRow, ...]:
    query = f"SELECT {_EPOCH_JOINED} FROM epochs e {_ORDER}, e.epoch"
    return tuple(_epoch(found) for found in sql.execute(query))


def batches(sql: sqlite3.Connection) -> tuple[BatchRow, ...]:
    query = f"SELECT arm, seed, step, loss FROM batches {_ORDER}, step"
    return tuple(
        BatchRow(arm, seed, _typed(int, step), _real(loss))
        for arm, seed, step, loss in sql.execute(query)
    )


def tests(sql: sqlite3.Connection) -> tuple[TestRow, ...]:
    query = f"SELECT arm, seed, loss, accuracy, ece FROM tests {_ORDER}"
    return tuple(
        TestRow(arm, seed, *(_real(value) for value in values))
        for arm, seed, *values in sql.execute(query)
    )


def members(sql: sqlite3.Connection) -> tuple[Member, ...]:
    query = "SELECT arm, seed, state, epochs_done, message FROM members ORDER BY position"
    kinds = (str, int, str, int, str)
    return tuple(Member(*map(_typed, kinds, found)) for found in sql.execute(query))


def notes(sql: sqlite3.Connection) -> dict[str, str]:
    found = sql.execute("SELECT name, text FROM notes ORDER BY name")
    return {_typed(str, name): _typed(str, text) for name, text in found}


def value(sql: sqlite3.Connection, name: str) -> str:
    found = sql.execute("SELECT value FROM run WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise RunError(f"the run has no '{name}'; restore it from a copy")
    return _typed(str, found[0])


def table(sql: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return a value that is kept as a JSON object."""
    found = parse_json(value(sql, name))
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected a JSON object, got {quote(found)}")
    return cast("dict[str, Any]", found)


def _epoch(found: tuple[Any, ...]) -> EpochRow:
    arm, seed, number, *values = found
    return EpochRow(arm, seed, _typed(int, number), *(_real(value) for value in values))


def _real(found: object) -> float:
    if found is None:
        return math.nan
    if not isinstance(found, (int, float)):
        raise ValueError(f"expected a number, got {found!r}")
    return float(found)


def _typed(kind: type[T], found: object) -> T:
    """Return a value that SQLite, which keeps anything in any column, has of the right type."""
    if not isinstance(found, kind):
        raise ValueError(f"expected {'text' if kind is str else 'a number'}, got {quote(found)}")
    return found
