"""The driver's two handles on a run: its lock, and its database open for writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from droplab.errors import RunError
from droplab.results import _schema
from droplab.results._checksum import write_checksum

LOCK = "run.lock"


def acquire(folder: Path) -> FileLock:
    """Take the run's lock, or say who has it."""
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{folder}: another droplab is writing this run; wait for it to end, or stop it first"
        ) from None
    except OSError as error:
        raise RunError(
            f"{folder}: the run cannot be locked for writing ({error.strerror or error}); "
            "check the folder's permissions, or choose another with --out"
        ) from error
    return lock


def connect(folder: Path) -> sqlite3.Connection:
    """Open a sound run's database for writing."""
    path = folder / _schema.DATABASE
    with _schema.plain_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        _schema.check(connection, path)
        with _schema.plain_errors(path):
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a confirmed row outlives a power cut too, as its checkpoint's successor may
            # already have taken the place of the checkpoint before.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # The journal is opened by the first read; without one, close could not fold it in.
            connection.execute("SELECT count(*) FROM run").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Generator[sqlite3.Connection]:
    """Write all that the block writes to the database at `path`, or nothing if it raises."""
    if not path.is_file():  # SQLite would go on writing to a file that has no name any more
        raise RunError(
            f"{path}: the file is gone, it was removed while the run was written; begin the run "
            "anew"
        )
    with _schema.plain_errors(path):
        try:  # before it begins: a signal that comes meanwhile is raised as soon as it has
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def disconnect(connection: sqlite3.Connection, path: Path) -> None:
    """Write the checksum, fold the journal into the database at `path`, and close it.

    When a reader is in the way, the journal stays as it is.
    """
    if not path.is_file():  # somebody removed it; whoever writes or reads next is told
        connection.close()
        return
    with _schema.plain_errors(path):
        try:
            with transaction(connection, path):
                write_checksum(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        finally:
            connection.close()
