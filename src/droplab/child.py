"""An interpreter of its own for what may take long, crash or be killed: both ends of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

INTERPRETER = [sys.executable, "-P", "-c"]


class Child:
    """A Python process that reads lines on its input and sends messages on its output.

    It finds the modules that this one finds, and nothing in the working directory that this one
    would not. What it writes as errors is kept for its last words.

    Args:
        code: What it runs.
        folder: Where it runs; here by default.
        environment: Variables to set for it.
    """

    def __init__(
        self, code: str, *, folder: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # until the process ends
        places = [str(Path(place).absolute()) for place in sys.path if place]
        self._process = subprocess.Popen(
            [*INTERPRETER, code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(places)},
            # Ctrl-C is for this process, which then ends the child and its children as a group.
            start_new_session=True,
        )
        self._lock = threading.Lock()
        self.output = cast("IO[bytes]", self._process.stdout)

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def say(self, line: str) -> None:
        """Write a line to it; one that has died is found out where its output is read."""
        stream = cast("IO[bytes]", self._process.stdin)
        with self._lock, contextlib.suppress(OSError, ValueError):
            stream.write(line.encode() + b"\n")
            stream.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what its `Output` sends, until it ends; a line that was cut off is left out."""
        for line in self.output:
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        if self._process.returncode is None:  # else the group is gone, and its number free
            self._kill_group()
            self._process.kill()
            self._process.wait()

    def _kill_group(self) -> None:
        # The group outlives its leader if a child of the child is left.
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Return the last line that it wrote as an error, or ""."""
        self._errors.seek(0)
        lines = self._errors.read()[-10_000:].decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


class Output:
    """The child's end: its output for messages alone; what else is printed goes where errors go."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, **message: Any) -> None:
        """Send a JSON object; if nobody listens any more, the end of the input says so too."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(line)
            self._stream.flush()

    def close(self) -> None:
        """Let go of the output."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()
