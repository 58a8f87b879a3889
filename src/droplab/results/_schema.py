"""The tables of run.sqlite, their version, and SQLite's errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from droplab.errors import DroplabError, RunError
from droplab.results._rows import STATES

VERSION = 3  # 1 had no checksum; until 2 there was a column for each metric of a classifier
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


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the empty tables and mark the file as a run of this version."""
    connection.executescript(_OTHER_TABLES + _ROWS)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def has_columns(sql: sqlite3.Connection) -> bool:
    """Whether the run has a column for each metric, as the layouts before 3 have it."""
    return sql.execute("PRAGMA user_version").fetchone()[0] < 3


def upgrade(sql: sqlite3.Connection) -> None:
    """Bring the tables of an earlier layout into this one, within the caller's transaction."""
    if has_columns(sql):
        sql.execute("ALTER TABLE epochs RENAME TO wide")
        for statement in filter(str.strip, _ROWS.split(";")):
            sql.execute(statement)
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
    sql.execute(f"PRAGMA user_version = {VERSION}")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a RunError unless the file is a sound run that this version can read."""
    with plain_errors(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
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
