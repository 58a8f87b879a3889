"""A worker process: an interpreter without threads and without GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Literal, cast

QUIET = {
    # A snippet runs on one thread and on the CPU: the same numbers everywhere, and safe to fork.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONIOENCODING": "utf-8",
}


INTERPRETER = [sys.executable, "-P", "-c"]


class Process:
    """A worker that takes jobs on its input and tells what happens on its output.

    Args:
        mode: The function of `_worker` that it runs.
    """

    def __init__(self, mode: Literal["serve", "alone"]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # until the process ends
        places = [str(Path(place).absolute()) for place in sys.path if place]
        self._process = subprocess.Popen(
            [*INTERPRETER, f"from droplab.practice._worker import {mode}; {mode}()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Away from the files of the reader; nothing is imported from there (-P).
            cwd=tempfile.gettempdir(),
            env={**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(places)},
            # Ctrl-C is for the reader's process, which then ends this one.
            start_new_session=True,
        )
        self.output = cast("IO[bytes]", self._process.stdout)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, job: dict[str, Any]) -> None:
        """Send a job; a process that has ended is found out when its answer is read."""
        stream = cast("IO[bytes]", self._process.stdin)
        try:
            stream.write(json.dumps(job).encode() + b"\n")
            stream.flush()
        except BrokenPipeError:
            pass

    def finish(self, job: dict[str, Any], seconds: float) -> tuple[str, int | None]:
        """Send the only job, and return all output and the exit status, None if it was late."""
        try:
            text, _ = self._process.communicate(json.dumps(job).encode(), seconds)
            status = self._process.returncode
        except subprocess.TimeoutExpired:
            self.kill()
            text, status = self._process.communicate()[0], None
        return text.decode(errors="replace"), status

    def complaint(self) -> str:
        """Return the last line that the process wrote as an error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it gave no reason"

    def kill(self) -> None:
        """End it and all that it has started."""
        if hasattr(os, "killpg") and not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """End it and let go of its files."""
        self.kill()
        self._process.communicate()
        self._errors.close()
