"""Rows into tables and back; what a column or a NULL means is known here alone."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from droplab.documents import parse_json
from droplab.errors import RunError, quote
from droplab.recipe import BLOCKS, METRICS, TEST_METRICS, Metric
from droplab.results._rows import (
    AnswersRow,
    BatchRow,
    BlockRow,
    EpochRow,
    ExampleRow,
    Member,
    PartRow,
    StoppedTestRow,
    TestRow,
)
from droplab.results._schema import (
    BLOCK_COLUMNS,
    EARLIER_METRICS,
    EARLIER_TEST_METRICS,
    has_answers,
    has_columns,
    has_parts,
)

T = TypeVar("T")

_METRICS = TypeAdapter(tuple[list[Metric], list[Metric]])
_ORDER = "JOIN members m USING (arm, seed) ORDER BY m.position"


def put_epoch(sql: sqlite3.Connection, row: EpochRow, done: int, folder: Path) -> bool:
    """Insert the row after the `done` confirmed ones, or check that one of them is the same.

    Returns:
        Whether it was new.
    """
    where = f"{folder}: arm '{row.arm}', seed {row.seed}, epoch {row.epoch}"
    if row.epoch > done + 1 or row.epoch < 1:
        raise RunError(f"{where}: expected epoch {done + 1} next; resume from its checkpoint")
    place = (row.arm, row.seed, row.epoch)
    if row.epoch <= done:
        _check_same(where, _epoch_values(sql, *place), row.values)
        return False
    sql.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (*place, row.seconds))
    sql.executemany(
        "INSERT INTO epoch_values VALUES (?, ?, ?, ?, ?)",
        [(*place, name, value) for name, value in row.values.items()],
    )
    return True


def _epoch_values(sql: sqlite3.Connection, arm: str, seed: int, number: int) -> dict[str, float]:
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


def _check_same(where: str, before: Mapping[str, float], now: Mapping[str, float]) -> None:
    """Raise a RunError if a row that is confirmed already has another number, to the last bit."""
    for name in sorted({*before, *now}):
        old, new = (each.get(name, math.nan) for each in (before, now))
        if old != new and not (math.isnan(old) and math.isnan(new)):
            raise _changed(where, f"{name} = {new!r}", f"{old!r}")


def _changed(where: str, now: str, before: str) -> RunError:
    return RunError(
        f"{where}: the resumed run has {now}, the confirmed row {before}; a run must go on under "
        "the machine and plan it began with, start it again in a new folder"
    )


def put_part(sql: sqlite3.Connection, row: PartRow, folder: Path) -> None:
    """Insert a row, or check that the one that is there is the same."""
    match row:
        case BlockRow():
            _put_block(sql, row, folder)
        case ExampleRow():
            _put_examples(sql, row, folder)
        case AnswersRow():
            _put_answers(sql, row, folder)


def _put_block(sql: sqlite3.Connection, row: BlockRow, folder: Path) -> None:
    where = f"{folder}: arm '{row.arm}', seed {row.seed}, epoch {row.epoch}, blocks"
    place, numbers = (row.arm, row.seed, row.epoch), (*row.values, *row.weights)
    query = f"SELECT {', '.join(BLOCK_COLUMNS)} FROM blocks WHERE (arm, seed, epoch) = (?, ?, ?)"
    found = sql.execute(query, place).fetchone()
    if found is None:
        marks = ", ".join("?" * (3 + len(BLOCK_COLUMNS)))
        sql.execute(f"INSERT INTO blocks VALUES ({marks})", (*place, *numbers))
        return
    before = dict(zip(BLOCK_COLUMNS, map(_real, found), strict=True))
    _check_same(where, before, dict(zip(BLOCK_COLUMNS, numbers, strict=True)))


def blocks(sql: sqlite3.Connection) -> tuple[BlockRow, ...]:
    if not has_parts(sql):
        return ()
    query = f"SELECT arm, seed, epoch, {', '.join(BLOCK_COLUMNS)} FROM blocks {_ORDER}, epoch"
    return tuple(
        BlockRow(
            *(arm, seed, _typed(int, number)),
            tuple(map(_real, found[:BLOCKS])),
            tuple(map(_real, found[BLOCKS:])),
        )
        for arm, seed, number, *found in sql.execute(query)
    )


def _put_examples(sql: sqlite3.Connection, row: ExampleRow, folder: Path) -> None:
    values = row.values.astype("<f4").tobytes()
    weights = None if bool((row.weights == 1).all()) else row.weights.astype("<f4").tobytes()
    query = 'SELECT "values", weights FROM examples WHERE (arm, seed) = (?, ?)'
    found = sql.execute(query, (row.arm, row.seed)).fetchone()
    if found is None:
        sql.execute(
            "INSERT INTO examples VALUES (?, ?, ?, ?)", (row.arm, row.seed, values, weights)
        )
    elif found != (values, weights):
        where = f"{folder}: arm '{row.arm}', seed {row.seed}"
        raise _changed(where, "other values of validation examples", "those of before")


def examples(sql: sqlite3.Connection) -> tuple[ExampleRow, ...]:
    if not has_parts(sql):
        return ()
    query = f'SELECT arm, seed, "values", weights FROM examples {_ORDER}'
    found: list[ExampleRow] = []
    for arm, seed, numbers, weights in sql.execute(query):
        values = _array(numbers)
        weighed = np.ones_like(values) if weights is None else _array(weights)
        if len(weighed) != len(values):
            raise ValueError(f"expected {len(values)} weights of examples, got {len(weighed)}")
        found.append(ExampleRow(arm, seed, values, weighed))
    return tuple(found)


def _put_answers(sql: sqlite3.Connection, row: AnswersRow, folder: Path) -> None:
    place = (row.arm, row.seed)
    found = _answers_of(sql, *place)
    if not found[0]:
        bins = [(*place, i, *each) for i, each in enumerate(row.bins, start=1)]
        sql.executemany("INSERT INTO confidence_bins VALUES (?, ?, ?, ?, ?, ?)", bins)
        classes = [(*place, i, *each) for i, each in enumerate(row.classes)]
        sql.executemany("INSERT INTO class_counts VALUES (?, ?, ?, ?, ?)", classes)
    elif found != (row.bins, row.classes):
        where = f"{folder}: arm '{row.arm}', seed {row.seed}"
        raise _changed(where, "other counts of answers", "those of before")


def answers(sql: sqlite3.Connection) -> tuple[AnswersRow, ...]:
    if not has_answers(sql):
        return ()
    query = f"SELECT arm, seed FROM (SELECT DISTINCT arm, seed FROM confidence_bins) {_ORDER}"
    found = sql.execute(query).fetchall()
    return tuple(AnswersRow(arm, seed, *_answers_of(sql, arm, seed)) for arm, seed in found)


def _answers_of(
    sql: sqlite3.Connection, arm: str, seed: int
) -> tuple[tuple[tuple[int, float, int], ...], tuple[tuple[int, int], ...]]:
    where = "WHERE (arm, seed) = (?, ?) ORDER BY"
    bins = sql.execute(
        f"SELECT count, confidence, correct FROM confidence_bins {where} bin", (arm, seed)
    )
    classes = sql.execute(f"SELECT count, correct FROM class_counts {where} class", (arm, seed))
    return (
        tuple((_typed(int, n), _real(sum), _typed(int, right)) for n, sum, right in bins),
        tuple((_typed(int, n), _typed(int, right)) for n, right in classes),
    )


def _array(found: object) -> NDArray[np.float32]:
    return np.frombuffer(_typed(bytes, found), dtype="<f4").astype(np.float32)


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


def insert_stopped_test(sql: sqlite3.Connection, row: StoppedTestRow) -> bool:
    """Insert what is not there yet; return whether something was not."""
    done = sql.executemany(
        "INSERT OR IGNORE INTO stopped_test_values VALUES (?, ?, ?, ?, ?)",
        [(row.arm, row.seed, row.epoch, name, value) for name, value in row.values.items()],
    )
    return done.rowcount > 0


def stopped_tests(sql: sqlite3.Connection) -> tuple[StoppedTestRow, ...]:
    if not has_parts(sql):
        return ()
    values: dict[tuple[str, int, int], dict[str, float]] = {}
    query = f"SELECT arm, seed, epoch, metric, value FROM stopped_test_values {_ORDER}"
    for arm, seed, number, name, value in sql.execute(query):
        values.setdefault((arm, seed, _typed(int, number)), {})[name] = _real(value)
    _, order = metrics(sql)
    return tuple(StoppedTestRow(_ordered(each, order), *place) for place, each in values.items())


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
        wanted = "text" if kind is str else "bytes" if kind is bytes else "a number"
        raise ValueError(f"expected {wanted}, got {quote(found)}")
    return found
