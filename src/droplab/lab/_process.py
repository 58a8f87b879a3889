"""The server's hold on a worker process: its messages, its end, and its death by force."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

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


class WorkerProcess:
    """A worker in a process of its own, at low priority, with the pipe that keeps it alive.

    It loads torch as soon as it is made, so that a run which is asked for later begins at once.
    """

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # until the process ends
        places = [str(Path(place).absolute()) for place in sys.path if place]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from droplab.lab._worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            # Ctrl-C is for the server, which then ends this one and its own workers as a group.
            start_new_session=True,
        )
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    def send(self, recipe: Recipe, folder: Path, *, resume: bool) -> None:
        """Give it its job."""
        job = {"recipe": dumps(recipe), "folder": str(folder), "resume": resume}
        self._say(json.dumps(job))

    def _say(self, line: str) -> None:
        stream = cast("IO[bytes]", self._process.stdin)
        # One that has died is found out where its messages are read.
        with self._lock, contextlib.suppress(OSError, ValueError):
            stream.write(line.encode() + b"\n")
            stream.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what it tells, until it has ended; a line that was cut off is left out."""
        for line in cast("IO[bytes]", self._process.stdout):
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found
        self._kill_group()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with self._lock, contextlib.suppress(OSError):
                cast("IO[bytes]", stream).close()
        if self._timer is not None:
            self._timer.cancel()

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds."""
        self._say("stop")
        if self._timer is None:
            self._timer = threading.Timer(grace, self.kill)
            self._timer.daemon = True
            self._timer.start()

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        if self._process.returncode is None:  # else the group is gone, and its number free
            self._kill_group()
            self._process.kill()
            self._process.wait()

    def _kill_group(self) -> None:
        # The group outlives its leader if a worker of the worker is left.
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def reason(self) -> str:
        """Return why it ended, when it did not say so itself."""
        code = self._process.poll()
        self._errors.seek(0)
        lines = self._errors.read()[-10_000:].decode(errors="replace").strip().splitlines()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
                return f"its process was killed by {name}{memory}"
        said = f": {lines[-1][:300]}" if lines else ""
        return f"its process ended with exit code {code}{said}"
