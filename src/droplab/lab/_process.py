"""The server's hold on a worker process: its messages, its end, and its death by force."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

from droplab.child import Child
from droplab.recipe import Recipe, dumps


class Worker(Protocol):
    """What trains one run."""

    def send(self, recipe: Recipe, folder: Path, *, resume: bool) -> None:
        """Give it its job."""
        ...

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what it tells, until it has ended."""
        ...

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds."""
        ...

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        ...

    def reason(self) -> str:
        """Return why it ended, when it did not say so itself."""
        ...


Start = Callable[[], Worker]


class WorkerProcess(Child):
    """A worker in a process of its own, at low priority, with the pipe that keeps it alive.

    It loads torch as soon as it is made, so that a run which is asked for later begins at once.
    """

    def __init__(self) -> None:
        super().__init__("from droplab.lab._worker import main; main()")
        self._timer: threading.Timer | None = None

    def send(self, recipe: Recipe, folder: Path, *, resume: bool) -> None:
        """Give it its job."""
        job = {"recipe": dumps(recipe), "folder": str(folder), "resume": resume}
        self.say(json.dumps(job))

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what it tells, until it has ended."""
        yield from super().messages()
        self._kill_group()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with self._lock, contextlib.suppress(OSError):
                cast("IO[bytes]", stream).close()
        if self._timer is not None:
            self._timer.cancel()

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds."""
        self.say("stop")
        if self._timer is None:
            self._timer = threading.Timer(grace, self.kill)
            self._timer.daemon = True
            self._timer.start()

    def reason(self) -> str:
        """Return why it ended, when it did not say so itself."""
        code = self._process.poll()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
                return f"its process was killed by {name}{memory}"
        said = self.last_words()
        return f"its process ended with exit code {code}{': ' if said else ''}{said}"
