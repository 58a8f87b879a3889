"""The reader of a run's folder, or of its one file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from droplab import recipe
from droplab.errors import RecipeError, RunError
from droplab.results import _schema, _tables
from droplab.results._checksum import check_checksum
from droplab.results._rows import RunResult
from droplab.results._scored import check_plan


def load(path: str | os.PathLike[str]) -> RunResult:
    """Read everything that a run has confirmed so far.

    A finished run, a run whose driver is still writing and one whose driver was killed are all
    read the same way, and nothing is written to them; a folder without write permission will do.

    Args:
        path: The run's folder, or its run.sqlite alone.

    Returns:
        The rows, with the recipe and all else that the run kept.

    Raises:
        RunError: There is no run, or it is damaged, incomplete, or of a newer droplab.
    """
    given = Path(path).expanduser().absolute()
    database = given / _schema.DATABASE if given.is_dir() else given
    if not database.is_file():
        raise RunError(f"{given}: expected the folder of a run, found no {_schema.DATABASE} there")
    with _schema.plain_errors(database), _opened(database) as sql:
        _schema.check(sql, database)
        # One read transaction: rows and states of the same moment, also while a driver writes.
        sql.execute("BEGIN")
        check_checksum(sql, database)
        text = _tables.value(sql, "recipe")
        try:
            parsed = _as_begun(recipe.loads(text), _tables.value(sql, "digest"))
        except RecipeError as error:
            raise RunError(f"{database}: the recipe in the run cannot be read: {error}") from error
        metrics, test_metrics = _tables.metrics(sql)
        return RunResult(
            path=given,
            recipe=parsed,
            environment=_tables.table(sql, "environment"),
            rows=_tables.epochs(sql),
            tests=_tables.tests(sql),
            members=_tables.members(sql),
            notes=_tables.notes(sql),
            batches=_tables.batches(sql),
            plan=check_plan(_tables.table(sql, "plan")),
            created=_tables.value(sql, "created"),
            metrics=metrics,
            test_metrics=test_metrics,
            blocks=_tables.blocks(sql),
            examples=_tables.examples(sql),
            stopped_tests=_tables.stopped_tests(sql),
            answers=_tables.answers(sql),
        )


@contextmanager
def _opened(database: Path) -> Generator[sqlite3.Connection]:
    """Open for reading; from a copy where SQLite cannot read in place.

    A journal that a killed driver left in a folder without write permission cannot be read in
    place (its index must be built beside it), and reading the file without it would lose rows.
    """
    try:
        connection = _connect(database)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
    else:
        with closing(connection):
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="droplab-") as place:
        copy = Path(place) / _schema.DATABASE
        try:
            for suffix in ("-wal", ""):
                part = database.with_name(database.name + suffix)
                if part.exists():
                    shutil.copyfile(part, copy.with_name(copy.name + suffix))
        except OSError as error:
            raise RunError(f"{database}: cannot be read ({error.strerror or error})") from error
        with closing(_connect(copy)) as connection:
            yield connection


def _connect(database: Path) -> sqlite3.Connection:
    uri = f"{database.as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _as_begun(parsed: recipe.Recipe, digest: str) -> recipe.Recipe:
    """Return the recipe as it was meant when the run began.

    Earlier versions stepped every scheduler once an epoch, also those that count steps, and left no
    fold for early stopping if nobody asked for it.
    """
    meant = [parsed]
    if parsed.data.stop_on_fold and parsed.loop is None:
        meant.append(replace(parsed, data=replace(parsed.data, stop_on_fold=False)))
    if parsed.scheduler is not None:
        each_epoch = replace(parsed.scheduler, every="epoch")
        meant += [replace(each, scheduler=each_epoch) for each in meant]
    return next((each for each in meant if each.digest == digest), parsed)
