"""The tables of run.sqlite, their version, and SQLite's errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from droplab.errors import DroplabError, RunError
from droplab.recipe import BLOCKS
from droplab.results._rows import STATES

VERSION = 5
# 1 had no checksum; until 2 there was a column for each metric of a classifier; 3 had no blocks; 4
# had no counts of answers
APPLICATION_ID = 0x44524F50  # "DROP"; tells a run from any other SQLite file
DATABASE = "run.sqlite"
RECIPE = "recipe.toml"

EARLIER_METRICS = (
    *("train_loss_running", "train_accuracy_running", "train_loss", "train_accuracy"),
    *("val_loss", "val_accuracy", "val_ece"),
)
EARLIER_TEST_METRICS = ("loss", "accuracy", "ece")
"""The columns of the layouts before 3."""

# A REAL column stays nullable: SQLite keeps NaN as NULL.
_OTHER_TABLES = f"""
CREATE TABLE run (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE members (
    position INTEGER NOT NULL UNIQUE,
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN {STATES!r}),
    epochs_done INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    checkpoint TEXT,
    PRIMARY KEY (arm, seed)
) WITHOUT ROWID;
CREATE TABLE batches (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    step INTEGER NOT NULL CHECK (step >= 1),
    loss REAL,
    PRIMARY KEY (arm, seed, step),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
"""

_ROWS = """
CREATE TABLE epochs (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    seconds REAL,
    PRIMARY KEY (arm, seed, epoch),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
CREATE TABLE epoch_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, epoch, metric),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
CREATE TABLE test_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, metric),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
"""

BLOCK_COLUMNS = tuple(f"{what}_{i}" for what in ("value", "weight") for i in range(1, BLOCKS + 1))

_PARTS = f"""
CREATE TABLE blocks (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    {", ".join(f"{name} REAL" for name in BLOCK_COLUMNS)},
    PRIMARY KEY (arm, seed, epoch),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
CREATE TABLE examples (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    "values" BLOB NOT NULL,
    weights BLOB,
    PRIMARY KEY (arm, seed),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
);
CREATE TABLE stopped_test_values (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (arm, seed, metric),
    FOREIGN KEY (arm, seed, epoch) REFERENCES epochs (arm, seed, epoch)
) WITHOUT ROWID;
"""

_ANSWERS = """
CREATE TABLE confidence_bins (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    bin INTEGER NOT NULL CHECK (bin >= 1),
    count INTEGER NOT NULL,
    confidence REAL,
    correct INTEGER NOT NULL,
    PRIMARY KEY (arm, seed, bin),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
CREATE TABLE class_counts (
    arm TEXT NOT NULL,
    seed INTEGER NOT NULL,
    class INTEGER NOT NULL CHECK (class >= 0),
    count INTEGER NOT NULL,
    correct INTEGER NOT NULL,
    PRIMARY KEY (arm, seed, class),
    FOREIGN KEY (arm, seed) REFERENCES members (arm, seed)
) WITHOUT ROWID;
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the empty tables and mark the file as a run of this version."""
    connection.executescript(_OTHER_TABLES + _ROWS + _PARTS + _ANSWERS)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def has_columns(sql: sqlite3.Connection) -> bool:
    """Whether the run has a column for each metric, as the layouts before 3 have it."""
    return _version(sql) < 3


def has_parts(sql: sqlite3.Connection) -> bool:
    """Whether the run has tables for parts of the validation examples, as layouts from 4 on."""
    return _version(sql) >= 4


def has_answers(sql: sqlite3.Connection) -> bool:
    """Whether the run has tables for counts of answers, as layouts from 5 on."""
    return _version(sql) >= 5


def _version(sql: sqlite3.Connection) -> int:
    return sql.execute("PRAGMA user_version").fetchone()[0]


def upgrade(sql: sqlite3.Connection) -> None:
    """Bring the tables of an earlier layout into this one, within the caller's transaction."""
    if has_columns(sql):
        sql.execute("ALTER TABLE epochs RENAME TO wide")
        _execute(sql, _ROWS)
        sql.execute("INSERT INTO epochs SELECT arm, seed, epoch, seconds FROM wide")
        for name in EARLIER_METRICS:
            query = "INSERT INTO epoch_values SELECT arm, seed, epoch, ?, {} FROM wide"
            sql.execute(query.format(name), (name,))
        query = "INSERT INTO epoch_values SELECT arm, seed, epoch, 'gap', {} FROM wide"
        sql.execute(query.format("train_accuracy - val_accuracy"))
        for name in EARLIER_TEST_METRICS:
            query = "INSERT INTO test_values SELECT arm, seed, ?, {} FROM tests"
            sql.execute(query.format(name), (name,))
        sql.execute("DROP TABLE wide")
        sql.execute("DROP TABLE tests")
    if not has_parts(sql):
        _execute(sql, _PARTS)
    if not has_answers(sql):
        _execute(sql, _ANSWERS)
    sql.execute(f"PRAGMA user_version = {VERSION}")


def _execute(sql: sqlite3.Connection, script: str) -> None:
    for statement in filter(str.strip, script.split(";")):  # a script would end the transaction
        sql.execute(statement)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a RunError unless the file is a sound run that this version can read."""
    with plain_errors(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = _version(connection)
        if application != APPLICATION_ID:
            raise RunError(
                f"{path}: expected a run written by droplab, found another SQLite file; "
                "give the folder of a run"
            )
        if version > VERSION:
            raise RunError(
                f"{path}: written by a newer droplab (layout {version}, this one reads up to "
                f"{VERSION}); update droplab"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise RunError(f"{path}: the file is damaged ({found}); restore it from a copy")


@contextmanager
def plain_errors(path: Path) -> Generator[None]:
    """Turn SQLite's errors and unreadable values into one RunError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise RunError(f"{path}: {_explain(error)}") from error
    except DroplabError:
        raise
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path}: the file is damaged (a value in it cannot be read: {error}); "
            "restore it from a copy"
        ) from error


def _explain(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full; free some space and resume, confirmed rows are safe"
    if code == sqlite3.SQLITE_IOERR:
        return (
            f"the disk refused a read or a write ({error}); check that it has space and is "
            "healthy, then resume, confirmed rows are safe"
        )
    if code == sqlite3.SQLITE_READONLY:
        return f"the run cannot be written to ({error}); check the folder's permissions"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "another program holds the file locked; close it and try again"
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"the file cannot be opened ({error}); check the folder and its permissions"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return f"expected a run written by droplab, found a damaged or foreign file ({error})"
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):
        return f"the run is incomplete ({error}); restore it from a copy"
    return f"the run cannot be read or written ({error})"
