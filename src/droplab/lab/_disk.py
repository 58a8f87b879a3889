"""The runs on disk: which there are, and what is in each, read again when it has changed."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from droplab.errors import DroplabError
from droplab.lab._limits import LISTED, Refusal
from droplab.lab._run import Run, State, size_of_split
from droplab.results import RunResult, load

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What the name of a run's folder may be; a request with another one is never looked up."""

DATABASE, LOCK = "run.sqlite", "run.lock"

READABLE = 5_000_000
"""Most rows that a run may have to be shown."""

OPEN = 8
"""Runs whose rows are kept in memory."""

Signature = tuple[tuple[int, int], ...]


class RunsOnDisk:
    """The folders directly under `root` that hold a run.

    Args:
        root: The folder of the runs; it need not be there yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._summaries: dict[str, tuple[Signature, dict[str, Any]]] = {}
        self._runs: OrderedDict[str, tuple[Signature, Run]] = OrderedDict()
        self._lock = threading.RLock()

    def ids(self) -> list[str]:
        """Return the ids of the newest runs, the newest first."""
        try:
            with os.scandir(self.root) as entries:
                found = [
                    (Path(entry.path, DATABASE).stat().st_mtime, entry.name)
                    for entry in entries
                    if ID.fullmatch(entry.name) and _is_run(entry)
                ]
        except OSError:
            return []
        return [name for _, name in sorted(found, reverse=True)[:LISTED]]

    def folder(self, id: str) -> Path:
        """Return the folder of a run that is there.

        Raises:
            Refusal: There is none of that name.
        """
        if ID.fullmatch(id):  # it is compared with names: a request never becomes a path
            with contextlib.suppress(OSError), os.scandir(self.root) as entries:
                if any(entry.name == id and _is_run(entry) for entry in entries):
                    return self.root / id
        raise Refusal(404, "there is no such run; it may have been deleted or renamed")

    def result(self, id: str) -> RunResult:
        """Return what a run has on disk.

        Raises:
            Refusal: There is no such run, or it cannot be read.
        """
        folder = self.folder(id)
        try:
            return load(folder)
        except DroplabError as error:
            raise Refusal(409, str(error)) from None

    def run(self, id: str) -> Run:
        """Return a run as it is on disk now: the same object as before, unless it is another run.

        Raises:
            Refusal: There is no such run, or it cannot be read.
        """
        with self._lock:
            signature = self._signature(self.folder(id))
            known, run = self._runs.get(id, ((), None))
            if run is not None and known == signature:
                return run
            result = self.result(id)
            recipe = result.recipe
            if len(recipe.arms) * len(recipe.seeds) * recipe.epochs > READABLE:
                raise Refusal(409, "the run is too large to be shown here; use droplab report")
            if run is None or run.recipe != recipe:
                run = Run(id, recipe)
            run.fill(result, *self._state(id, signature, result))
            self._keep(run, signature)
            return run

    def _state(self, id: str, signature: Signature, result: RunResult) -> tuple[State, str]:
        known, summary = self._summaries.get(id, ((), {}))
        if known == signature:  # it ended here, and why it failed is not on disk
            return summary["state"], summary["message"]
        if signature[-1][0]:
            return "running", "another droplab is writing this run"
        return state_on_disk(result), ""

    def refresh(self, run: Run, seen: Signature) -> Signature:
        """Read a run that a worker of this server writes, if it is another than what was `seen`."""
        files = self._files(self.root / run.id)
        if files != seen:
            with contextlib.suppress(Refusal):  # it is not there yet
                run.fill(self.result(run.id))
        return files

    def take_over(self, run: Run, state: State, message: str) -> bool:
        """Read a run that has ended here, as the others are read from now on.

        Args:
            run: The run.
            state: How it ended; one that did not fail is what its rows say.
            message: Why it failed.

        Returns:
            Whether it is on disk; one that failed early may not be.
        """
        try:
            signature, result = self._signature(self.folder(run.id)), self.result(run.id)
        except Refusal:
            run.set_state(state, message)
            return False
        run.fill(result, state if state == "failed" else state_on_disk(result), message)
        with self._lock:
            self._keep(run, signature)
        return True

    def _keep(self, run: Run, signature: Signature) -> None:
        self._summaries[run.id] = (signature, run.summary())
        self._runs[run.id] = (signature, run)
        self._runs.move_to_end(run.id)
        while len(self._runs) > OPEN:
            self._runs.popitem(last=False)

    def summary(self, id: str) -> dict[str, Any]:
        """Return one of `ids()` as a list shows it; `run` tells of errors."""
        with self._lock:
            known = self._summaries.get(id)
        if known is not None and known[0] == self._signature(self.root / id):
            return known[1]
        return self.run(id).summary()

    def _signature(self, folder: Path) -> Signature:
        """Return what changes when a run's file does, and whether it is being written."""
        return (*self._files(folder), (int(self._driven(folder)), 0))

    @staticmethod
    def _files(folder: Path) -> Signature:
        found: list[tuple[int, int]] = []
        for name in (DATABASE, f"{DATABASE}-wal"):
            try:
                state = (folder / name).stat()
                found.append((state.st_mtime_ns, state.st_size))
            except OSError:
                found.append((0, 0))
        return tuple(found)

    @staticmethod
    def _driven(folder: Path) -> bool:
        """Whether some process is writing the run.

        Only a run that was not closed is asked, as the question takes the lock for a moment.
        """
        if not (folder / f"{DATABASE}-wal").exists():
            return False
        try:
            import fcntl
        except ImportError:
            return False
        try:
            with (folder / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _is_run(folder: Path | os.DirEntry[str]) -> bool:
    """Whether a folder holds the file of a run; what a link leads to is none."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    database = Path(folder, DATABASE)
    return database.is_file() and not database.is_symlink()


def state_on_disk(result: RunResult) -> State:
    """Return whether a run that nobody writes is done, or was stopped."""
    if any(member.state not in ("done", "nan") for member in result.members):
        return "stopped"
    sound = {member.arm for member in result.members if member.state == "done"}
    tested = bool(result.tests) or not size_of_split(result, "test")
    if not tested and len(sound) > 1 and result.recipe.baseline.name in sound:
        return "stopped"  # just before the test split was measured
    return "done"
