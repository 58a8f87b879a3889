"""Rows into tables and back; what a column or a NULL means is known here alone."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from droplab.documents import parse_json
from droplab.errors import RunError, quote
from droplab.recipe import METRICS, TEST_METRICS, Metric
from droplab.results._rows import BatchRow, EpochRow, Member, TestRow
from droplab.results._schema import EARLIER_METRICS, EARLIER_TEST_METRICS, has_columns

T = TypeVar("T")

_METRICS = TypeAdapter(tuple[list[Metric], list[Metric]])
_ORDER = "JOIN members m USING (arm, seed) ORDER BY m.position"


def insert_epoch(sql: sqlite3.Connection, row: EpochRow) -> None:
    place = (row.arm, row.seed, row.epoch)
    sql.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (*place, row.seconds))
    sql.executemany(
        "INSERT INTO epoch_values VALUES (?, ?, ?, ?, ?)",
        [(*place, name, value) for name, value in row.values.items()],
    )


def epoch_values(sql: sqlite3.Connection, arm: str, seed: int, number: int) -> dict[str, float]:
    """Return the numbers of one epoch that is there."""
    found = sql.execute(
        "SELECT metric, value FROM epoch_values WHERE arm = ? AND seed = ? AND epoch = ?",
        (arm, seed, number),
    ).fetchall()
    if not found:
        raise RunError(
            f"arm '{arm}', seed {seed}, epoch {number}: the run counts this epoch as done but has "
            "no row of it; restore the run from a copy"
        )
    return {name: _real(value) for name, value in found}


def epochs(sql: sqlite3.Connection) -> tuple[EpochRow, ...]:
    if has_columns(sql):
        return tuple(_earlier_epochs(sql))
    order, _ = metrics(sql)
    values: dict[tuple[str, int, int], dict[str, float]] = {}
    for arm, seed, number, name, value in sql.execute("SELECT * FROM epoch_values"):
        values.setdefault((arm, seed, number), {})[name] = _real(value)
    query = f"SELECT arm, seed, epoch, seconds FROM epochs {_ORDER}, epoch"
    return tuple(
        EpochRow(
            _ordered(values.get((arm, seed, number), {}), order),
            *(arm, seed, _typed(int, number), _real(seconds)),
        )
        for arm, seed, number, seconds in sql.execute(query)
    )


def _earlier_epochs(sql: sqlite3.Connection) -> Iterator[EpochRow]:
    columns = ", ".join(EARLIER_METRICS)
    query = f"SELECT arm, seed, epoch, seconds, {columns} FROM epochs {_ORDER}, epoch"
    for arm, seed, number, seconds, *found in sql.execute(query):
        values = dict(zip(EARLIER_METRICS, map(_real, found), strict=True))
        values["gap"] = values["train_accuracy"] - values["val_accuracy"]
        yield EpochRow(values, arm, seed, _typed(int, number), _real(seconds))


def batches(sql: sqlite3.Connection) -> tuple[BatchRow, ...]:
    query = f"SELECT arm, seed, step, loss FROM batches {_ORDER}, step"
    return tuple(
        BatchRow(arm, seed, _typed(int, step), _real(loss))
        for arm, seed, step, loss in sql.execute(query)
    )


def insert_test(sql: sqlite3.Connection, row: TestRow) -> bool:
    """Insert what is not there yet; return whether something was not."""
    done = sql.executemany(
        "INSERT OR IGNORE INTO test_values VALUES (?, ?, ?, ?)",
        [(row.arm, row.seed, name, value) for name, value in row.values.items()],
    )
    return done.rowcount > 0


def tests(sql: sqlite3.Connection) -> tuple[TestRow, ...]:
    values: dict[tuple[str, int], dict[str, float]] = {}
    if has_columns(sql):
        columns = ", ".join(EARLIER_TEST_METRICS)
        for arm, seed, *found in sql.execute(f"SELECT arm, seed, {columns} FROM tests {_ORDER}"):
            numbers = map(_real, found)
            values[arm, seed] = dict(zip(EARLIER_TEST_METRICS, numbers, strict=True))
    else:
        query = f"SELECT arm, seed, metric, value FROM test_values {_ORDER}"
        for arm, seed, name, value in sql.execute(query):
            values.setdefault((arm, seed), {})[name] = _real(value)
    _, order = metrics(sql)
    return tuple(
        TestRow(_ordered(numbers, order), arm, seed) for (arm, seed), numbers in values.items()
    )


def _ordered(values: Mapping[str, float], order: Iterable[str]) -> dict[str, float]:
    """Return numbers in the order of the run's metrics; the tables have them by name."""
    return {**{name: values[name] for name in order if name in values}, **values}


def metrics(sql: sqlite3.Connection) -> tuple[Mapping[str, Metric], Mapping[str, Metric]]:
    """Return the metrics after every epoch and those of the test split; see `metrics_text`."""
    found = sql.execute("SELECT value FROM run WHERE name = 'metrics'").fetchone()
    if found is None:  # before layout 3 all runs were of classifiers
        return METRICS, TEST_METRICS
    parts = _METRICS.validate_python(parse_json(_typed(str, found[0])))
    epoch, test = ({each.name: each for each in part} for part in parts)
    return epoch, test


def metrics_text(metrics: Iterable[Metric], test_metrics: Iterable[Metric]) -> str:
    """Return metrics as they are stored: two lists of JSON objects."""
    return json.dumps([[asdict(each) for each in part] for part in (metrics, test_metrics)])


def members(sql: sqlite3.Connection) -> tuple[Member, ...]:
    query = "SELECT arm, seed, state, epochs_done, message FROM members ORDER BY position"
    kinds = (str, int, str, int, str)
    typed = (tuple(map(_typed, kinds, found)) for found in sql.execute(query))
    return tuple(Member(*cast("tuple[Any, ...]", found)) for found in typed)


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
