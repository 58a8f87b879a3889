"""The writer of a run's folder: one driver, one transaction a row, nothing lost.

The store is one class though the file is long, half of it docstrings: everything in it needs the
same lock and connection, and what it promises holds only as long as nobody else writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from droplab.errors import RunError
from droplab.recipe import METRICS, TEST_METRICS, Metric
from droplab.results import _schema, _tables
from droplab.results._checksum import check_checksum, remove_checksum
from droplab.results._create import create_folder, prepare_folders
from droplab.results._driver import acquire, connect, disconnect, transaction
from droplab.results._orphans import orphans
from droplab.results._preflight import preflight
from droplab.results._rows import (
    BatchRow,
    EpochRow,
    Member,
    PartRow,
    State,
    StoppedTestRow,
    TestRow,
)
from droplab.results._whole_file import remove_temporary


class RunStore:
    """Writes one run: its rows, the state of its replicas and the pointers to its checkpoints.

    A run is a folder with `recipe.toml`, `run.sqlite`, `weights/` and `checkpoints/`. Only one
    process writes it, the driver, and a lock file keeps a second one out. Each method that writes
    is one transaction: once it has returned, what it wrote outlives `kill -9`; if it raises,
    nothing of it was written. Use `create` or `open_for_resume`, then `close` (or `with`).

    Example:
        >>> import tempfile
        >>> place = tempfile.TemporaryDirectory()
        >>> with RunStore.create(place.name, "name = 'x'", "abc", {}, [("none", 0)]) as store:
        ...     row = EpochRow({"val_loss": 0.7}, "none", 0, 1, 1.5)
        ...     store.commit_epoch(row), store.members()[0].epochs_done
        (True, 1)
        >>> place.cleanup()
    """

    def __init__(self, folder: Path, lock: FileLock, connection: sqlite3.Connection) -> None:
        """Use `create` or `open_for_resume` instead."""
        self.folder = folder
        self._lock = lock
        self._connection = connection
        self._database = folder / _schema.DATABASE

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        recipe_toml: str,
        digest: str,
        environment: Mapping[str, Any],
        members: Sequence[tuple[str, int]],
        *,
        plan: Mapping[str, Any] | None = None,
        notes: Mapping[str, str] | None = None,
        metrics: Iterable[Metric] = METRICS.values(),
        test_metrics: Iterable[Metric] = TEST_METRICS.values(),
    ) -> Self:
        """Begin a run in an empty or new folder and hold it open for writing.

        Args:
            folder: The run's folder; made with its parents when missing.
            recipe_toml: The recipe as text, kept beside the rows and among them.
            digest: The recipe's digest; resuming under another one is refused.
            environment: What `environment()` returned, with what the engine knows besides.
            members: (arm, seed) of every replica, in the order in which results are listed.
            plan: The execution plan, if it is known; see `set_plan`.
            notes: Texts to keep beside the rows; see `set_note`.
            metrics: What is measured after every epoch.
            test_metrics: What is measured on the test split.

        Raises:
            RunError: The folder holds a run already, another driver is at it, or it cannot be
                written to.
        """
        lock = acquire(path := preflight(folder))
        try:
            values = {
                "digest": digest,
                "recipe": recipe_toml,
                "environment": json.dumps(dict(environment), allow_nan=False),
                "plan": json.dumps(dict(plan or {}), allow_nan=False),
                "metrics": _tables.metrics_text(metrics, test_metrics),
            }
            create_folder(path, values, members, notes or {})
            return cls(path, lock, connect(path))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_for_resume(cls, folder: str | os.PathLike[str], *, digest: str | None = None) -> Self:
        """Open a run that was stopped, to go on writing it.

        Replicas that were running when the last driver ended are waiting again, and checkpoints
        that it left without a pointer are deleted.

        Args:
            folder: The run's folder.
            digest: Digest of the recipe to go on with; None to take the run's own.

        Raises:
            RunError: There is no run, it is damaged, newer, of another recipe, or another driver
                is at it.
        """
        path = Path(folder).expanduser().absolute()
        if not (path / _schema.DATABASE).is_file():
            raise RunError(
                f"{path}: expected a run to resume, found no {_schema.DATABASE} in it; name its "
                "folder with --out (without it, the folder follows from the recipe and its "
                "--seeds, --epochs and --set)"
            )
        lock = acquire(path)
        try:
            store = cls(path, lock, connect(path))
            try:
                store._take_over(digest)
            except BaseException:
                store._connection.close()
                raise
            return store
        except BaseException:
            lock.release()
            raise

    def _take_over(self, digest: str | None) -> None:
        own = self.digest
        if digest is not None and digest != own:
            raise RunError(
                f"{self.folder}: was made with another recipe (digest {own[:12]}, given "
                f"{digest[:12]}); resume it with its own {_schema.RECIPE} or choose a new folder"
            )
        with _schema.plain_errors(self._database):
            check_checksum(self._connection, self._database)
        prepare_folders(self.folder)
        with transaction(self._connection, self._database) as sql:
            remove_checksum(sql)
            _schema.upgrade(sql)
            sql.execute("UPDATE members SET state = 'waiting' WHERE state = 'running'")
        self.remove_orphans()

    @property
    def weights_folder(self) -> Path:
        """Where the weights of the trained replicas go."""
        return self.folder / "weights"

    @property
    def checkpoints_folder(self) -> Path:
        """Where the checkpoints go that a resumed run starts from."""
        return self.folder / "checkpoints"

    @property
    def digest(self) -> str:
        """Digest of the recipe that the run follows."""
        return self._value("digest")

    @property
    def recipe_toml(self) -> str:
        """The recipe that the run follows, as text."""
        return self._value("recipe")

    @property
    def environment(self) -> dict[str, Any]:
        """The environment in which the run began."""
        return self._table("environment")

    @property
    def plan(self) -> dict[str, Any]:
        """The execution plan, {} until one was set."""
        return self._table("plan")

    def set_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the execution plan, anything that JSON can hold, to be replayed on resume."""
        text = json.dumps(dict(plan), allow_nan=False)
        with transaction(self._connection, self._database) as sql:
            sql.execute("UPDATE run SET value = ? WHERE name = 'plan'", (text,))

    def members(self) -> tuple[Member, ...]:
        """Return the state of every replica, in the order given at `create`."""
        with _schema.plain_errors(self._database):
            return _tables.members(self._connection)

    def rows(self) -> tuple[EpochRow, ...]:
        """Return every confirmed row, in the order of the members and of time."""
        with _schema.plain_errors(self._database):
            return _tables.epochs(self._connection)

    def tests(self) -> tuple[TestRow, ...]:
        """Return the results on the test split so far."""
        with _schema.plain_errors(self._database):
            return _tables.tests(self._connection)

    def stopped_tests(self) -> tuple[StoppedTestRow, ...]:
        """Return the results on the test split at the stopped epoch so far."""
        with _schema.plain_errors(self._database):
            return _tables.stopped_tests(self._connection)

    def checkpoint(self, arm: str, seed: int) -> Path | None:
        """Return the checkpoint that a replica continues from, None if it has none.

        Raises:
            RunError: There is no such replica, or the file it points to is gone.
        """
        name = self._member(arm, seed, "checkpoint")
        if name is None:
            return None
        path = self.checkpoints_folder / str(name)
        if not path.is_file():
            raise RunError(
                f"{path}: the checkpoint of arm '{arm}', seed {seed} is missing; restore it from "
                "a copy or start the run again in a new folder"
            )
        return path

    def commit_epoch(
        self,
        row: EpochRow,
        checkpoint: str | None = None,
        batches: Sequence[BatchRow] = (),
    ) -> bool:
        """Confirm one row with the pointer to its checkpoint; see `commit_epochs`."""
        return self.commit_epochs([row], checkpoint, batches) == 1

    def commit_epochs(
        self,
        rows: Sequence[EpochRow],
        checkpoint: str | None = None,
        batches: Sequence[BatchRow] = (),
        parts: Sequence[PartRow] = (),
    ) -> int:
        """Confirm the rows of a group of replicas and the pointer to their checkpoint, at once.

        Checkpoints that no replica points to any more are then deleted.

        A row that is there already is not written again: a resumed run may come past it. It must
        then be the same row to the last bit (its seconds aside), or the call is refused.

        Args:
            rows: New rows, the next epoch of each of their replicas.
            checkpoint: Name of a file in `checkpoints/`, written in full and renamed before this
                call, from which all these replicas can go on; None leaves their pointers alone.
            batches: Mean losses of mini-batches since the last commit.
            parts: What belongs to these rows on parts of the validation examples.

        Returns:
            The number of rows that were new.

        Raises:
            RunError: Nothing was written: the checkpoint is not there, a row leaves out an epoch
                or differs from the one confirmed before, or the disk is full.
        """
        if checkpoint is not None and not (self.checkpoints_folder / checkpoint).is_file():
            raise RunError(
                f"{self.checkpoints_folder / checkpoint}: expected a finished checkpoint file, "
                "found none; write and rename it before its rows are committed"
            )
        with transaction(self._connection, self._database) as sql:
            before = self._checkpoints()
            written = sum(self._put_epoch(sql, row, checkpoint) for row in rows)
            sql.executemany(
                "INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?)",
                [(b.arm, b.seed, b.step, b.loss) for b in batches],
            )
            for each in parts:
                _tables.put_part(sql, each, self.folder)
        if checkpoint is not None:
            for name in before - self._checkpoints():
                self._remove(name)
        return written

    def _put_epoch(self, sql: sqlite3.Connection, row: EpochRow, checkpoint: str | None) -> bool:
        done = int(self._member(row.arm, row.seed, "epochs_done"))
        new = _tables.put_epoch(sql, row, done, self.folder)
        sql.execute(
            "UPDATE members SET epochs_done = max(epochs_done, ?),"
            " checkpoint = coalesce(?, checkpoint) WHERE arm = ? AND seed = ?",
            (row.epoch, checkpoint, row.arm, row.seed),
        )
        return new

    def set_member_state(self, arm: str, seed: int, state: State, message: str = "") -> None:
        """Say that a replica is waiting, running, done or stopped by a NaN, and why."""
        self._member(arm, seed, "state")
        with transaction(self._connection, self._database) as sql:
            sql.execute(
                "UPDATE members SET state = ?, message = ? WHERE arm = ? AND seed = ?",
                (state, message, arm, seed),
            )

    def add_test_row(self, row: TestRow) -> bool:
        """Confirm a result on the test split; a second one of the same replica is left out.

        Returns:
            Whether the row was new.
        """
        self._member(row.arm, row.seed, "state")
        with transaction(self._connection, self._database) as sql:
            if isinstance(row, StoppedTestRow):
                return _tables.insert_stopped_test(sql, row)
            return _tables.insert_test(sql, row)

    def notes(self) -> dict[str, str]:
        """Return the texts that are kept beside the rows."""
        with _schema.plain_errors(self._database):
            return _tables.notes(self._connection)

    def set_note(self, name: str, text: str) -> None:
        """Keep a text beside the rows under a name ("patch", "data"); a later one replaces it."""
        with transaction(self._connection, self._database) as sql:
            sql.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    def remove_orphans(self) -> int:
        """Delete the checkpoints that no replica points to, and return their number.

        A driver that was killed may have left one. Only files that are called so are touched.
        """
        for folder in (self.weights_folder, self.checkpoints_folder):
            remove_temporary(folder)  # a worker that was killed may have left one
        found = orphans(self.checkpoints_folder, self._checkpoints())
        for name in found:
            self._remove(name)
        return len(found)

    def _checkpoints(self) -> set[str]:
        """Names of the checkpoints that some replica goes on from."""
        with _schema.plain_errors(self._database):
            found = self._connection.execute("SELECT DISTINCT checkpoint FROM members").fetchall()
        return {name for (name,) in found if name is not None}

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # it is in nobody's way
            (self.checkpoints_folder / name).unlink()

    def close(self) -> None:
        """Fold the journal into run.sqlite, so that the one file can be copied; give the lock back.

        When a reader is in the way, the journal stays beside the file until the next close.
        """
        try:
            disconnect(self._connection, self._database)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store, whatever happened."""
        self.close()

    def _value(self, name: str) -> str:
        with _schema.plain_errors(self._database):
            return _tables.value(self._connection, name)

    def _table(self, name: str) -> dict[str, Any]:
        with _schema.plain_errors(self._database):
            return _tables.table(self._connection, name)

    def _member(self, arm: str, seed: int, column: str) -> Any:
        with _schema.plain_errors(self._database):
            found = self._connection.execute(
                f"SELECT {column} FROM members WHERE arm = ? AND seed = ?", (arm, seed)
            ).fetchone()
        if found is None:
            raise RunError(f"{self.folder}: arm '{arm}', seed {seed} is not part of this run")
        return found[0]
