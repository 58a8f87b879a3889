"""The runs on disk: which there are, and what is in each, read again when it has changed."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from droplab.errors import DroplabError
from droplab.lab._limits import LISTED, Refusal
from droplab.lab._run import Run, State
from droplab.results import RunResult, load

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What the name of a run's folder may be; a request with another one is never looked up."""

DATABASE, LOCK = "run.sqlite", "run.lock"

READABLE = 5_000_000
"""Most rows that a run may have to be shown."""

OPEN = 8
"""Runs whose rows are kept in memory."""

_Signature = tuple[tuple[int, int], ...]


class RunsOnDisk:
    """The folders directly under `root` that hold a run.

    Args:
        root: The folder of the runs; it need not be there yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._summaries: dict[str, tuple[_Signature, dict[str, Any]]] = {}
        self._runs: OrderedDict[str, tuple[_Signature, Run]] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """Return the ids of the newest runs, the newest first."""
        found: list[tuple[float, str]] = []
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if not ID.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                        continue
                    database = Path(entry.path, DATABASE)
                    if database.is_file() and not database.is_symlink():
                        found.append((database.stat().st_mtime, entry.name))
        except OSError:
            return []
        return [name for _, name in sorted(found, reverse=True)[:LISTED]]

    def folder(self, id: str) -> Path:
        """Return the folder of a run that is there.

        Raises:
            Refusal: There is none of that name.
        """
        if ID.fullmatch(id) and id in self.ids():
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
        """Return a run as it is on disk now.

        Raises:
            Refusal: There is no such run, or it cannot be read.
        """
        signature = self.signature(id)
        with self._lock:
            known = self._runs.get(id)
        if known is not None and known[0] == signature:
            return known[1]
        driven = bool(signature[-1][0])
        result = self.result(id)
        recipe = result.recipe
        if len(recipe.arms) * len(recipe.seeds) * recipe.epochs > READABLE:
            raise Refusal(409, "the run is too large to be shown here; use droplab report")
        run = Run.from_result(id, result, state="running" if driven else state_on_disk(result))
        if driven:
            run.message = "another droplab is writing this run"
        with self._lock:
            self._summaries[id] = (signature, run.summary())
            self._runs[id] = (signature, run)
            while len(self._runs) > OPEN:
                self._runs.popitem(last=False)
        return run

    def summary(self, id: str) -> dict[str, Any]:
        """Return a run as a list shows it; `run` tells of errors."""
        with self._lock:
            known = self._summaries.get(id)
        if known is not None and known[0] == self.signature(id):
            return known[1]
        return self.run(id).summary()

    def signature(self, id: str) -> _Signature:
        """Return what changes when a run's file does, and in the end whether it is being written.

        Raises:
            Refusal: There is no such run.
        """
        folder = self.folder(id)
        found: list[tuple[int, int]] = []
        for name in (DATABASE, f"{DATABASE}-wal"):
            try:
                state = (folder / name).stat()
                found.append((state.st_mtime_ns, state.st_size))
            except OSError:
                found.append((0, 0))
        return (*found, (int(self._driven(id)), 0))

    def _driven(self, id: str) -> bool:
        """Whether some process is writing the run.

        Only a run that was not closed is asked, as the question takes the lock for a moment.
        """
        folder = self.folder(id)
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


def state_on_disk(result: RunResult) -> State:
    """Return whether a run that nobody writes is done, or was stopped."""
    if any(member.state not in ("done", "nan") for member in result.members):
        return "stopped"
    sound = {member.arm for member in result.members if member.state == "done"}
    tested = bool(result.tests) or not _test_images(result)
    if not tested and len(sound) > 1 and result.recipe.baseline.name in sound:
        return "stopped"  # just before the test split was measured
    return "done"


def _test_images(result: RunResult) -> int:
    try:
        return int(json.loads(result.notes.get("data", "{}")).get("test", 0))
    except (ValueError, TypeError, AttributeError):
        return 0
