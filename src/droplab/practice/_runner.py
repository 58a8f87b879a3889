"""Runs exercises in processes of their own, with a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from droplab.child import Child
from droplab.errors import RunError
from droplab.practice._exercise import Claim, Code, Exercise
from droplab.practice._reading import Raw, Trace
from droplab.practice._result import Result

START_SECONDS = 180.0
"""How long an interpreter may take to import torch, on a slow and busy machine."""


_QUIET = {
    # A snippet runs on one thread and on the CPU: the same numbers everywhere, and safe to fork.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONIOENCODING": "utf-8",
}


class _Process(Child):
    """An interpreter that runs a function of `_worker`, away from the files of the reader."""

    def __init__(self, mode: Literal["serve", "alone"]) -> None:
        code = f"from droplab.practice._worker import {mode}; {mode}()"
        super().__init__(code, folder=tempfile.gettempdir(), environment=_QUIET)

    def finish(self, job: dict[str, Any], seconds: float) -> Raw:
        """Send the only job, and return all that comes until the process ends."""
        try:
            text, _ = self._process.communicate(json.dumps(job).encode(), seconds)
            status = self._process.returncode
        except subprocess.TimeoutExpired:
            self.kill()
            text, status = self._process.communicate()[0], None
        return Raw(text=text.decode(errors="replace"), status=status)

    def close(self) -> None:
        """End it and let go of its files."""
        self.kill()
        self._process.communicate()
        self._errors.close()


class Runner:
    """Runs exercises; keeps one process with torch ready where the platform can fork.

    Several threads may use one runner; they take turns.

    Args:
        fork: Whether options are forked from one process that has torch, which is quicker. None
            chooses what suits the platform.

    Randomness: every snippet starts with torch's default generator at seed 0.

    Example:
        >>> from droplab.practice import find
        >>> with Runner() as runner:
        ...     result = runner.run(find("eval-mode"), "A")
        >>> len(result.right), result.correct in (True, False)
        (1, True)
    """

    def __init__(self, *, fork: bool | None = None) -> None:
        # On macOS the system's own libraries do not survive a fork.
        can_fork = hasattr(os, "fork") and sys.platform != "darwin"
        self._fork = can_fork if fork is None else fork
        self._server: _Process | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def warm(self, exercise: Exercise) -> None:
        """Begin to load what the exercise needs, and return at once."""
        if self._fork:
            with self._lock:
                self._ready().say(json.dumps({**_job(exercise), "options": []}))

    def run(self, exercise: Exercise, answer: str = "") -> Result:
        """Run every option and return what happened.

        What goes wrong in a snippet or an option is an outcome, not an error.

        Args:
            exercise: What to run.
            answer: The reader's letters, such as "B"; may be empty.

        Raises:
            ArgumentError: If the answer names no option of the exercise.
            RunError: If the process that runs the snippets cannot be started, or is killed.
        """
        letters = exercise.letters_of(answer) if answer else ()
        with self._lock:
            started = time.monotonic()
            traces = self._forked(exercise) if self._fork else self._alone(exercise)
            seconds = time.monotonic() - started
        return Result(
            exercise=exercise,
            outcomes=tuple(trace.judge(exercise, index) for index, trace in enumerate(traces)),
            answer=letters,
            printed=traces[0].printed.get("snippet", ""),
            torch=traces[0].torch,
            seconds=seconds,
        )

    def close(self) -> None:
        """End the process; a later `run` starts another."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _ready(self) -> _Process:
        if self._server is not None and self._server.ended:
            self.close()
        if self._server is None:
            self._server = _Process("serve")
        return self._server

    def _forked(self, exercise: Exercise) -> Sequence[Trace]:
        server = self._ready()
        watchdog = threading.Timer(2 * exercise.seconds + START_SECONDS, server.kill)
        watchdog.start()
        try:
            server.say(json.dumps(_job(exercise)))
            line = server.output.readline()
            complaint = "" if line else server.last_words()
        except BaseException:
            # Interrupted: the answer may still come, and must not be taken for the next one's.
            self.close()
            raise
        finally:
            watchdog.cancel()
        if not line:
            self.close()
            raise _no_process(complaint)
        reply = json.loads(line)
        whole = Trace(torch=reply["torch"]).read(reply["raw"][0])
        if whole.options is None:
            return [whole] * len(exercise.options)
        return [
            Trace(torch=whole.torch, printed=dict(whole.printed)).read(raw) for raw in whole.options
        ]

    def _alone(self, exercise: Exercise) -> Sequence[Trace]:
        job = _job(exercise)
        jobs = [{**job, "options": [option]} for option in job["options"]]
        with ThreadPoolExecutor(len(jobs)) as pool:
            return list(pool.map(_one, jobs))


def run(exercise: Exercise, answer: str = "") -> Result:
    """Run one exercise in a process that ends with it.

    Arguments, errors and randomness are those of `Runner.run`.
    """
    with Runner() as runner:
        return runner.run(exercise, answer)


def _one(job: dict[str, Any]) -> Trace:
    process = _Process("alone")
    try:
        trace = Trace().read(process.finish(job, 2 * job["seconds"] + START_SECONDS))
        if trace.stage == "start":
            raise _no_process(process.last_words())
    finally:
        process.close()
    return trace


def _job(exercise: Exercise) -> dict[str, Any]:
    return {
        "snippet": exercise.snippet,
        "seconds": exercise.seconds,
        "options": [_option(exercise, option) for option in exercise.options],
    }


def _option(exercise: Exercise, option: Code | Claim) -> dict[str, str]:
    if isinstance(option, Code):
        return {
            "option": option.text,
            "then": exercise.then,
            "check": exercise.check,
            "saw": exercise.saw,
        }
    return {
        "option": "",
        "then": "",
        "check": option.check,
        "saw": exercise.saw if option.saw is None else option.saw,
    }


def _no_process(complaint: str) -> RunError:
    return RunError(
        "practice: a process with torch should have run the snippets, and it ended instead: "
        f"{complaint or 'it gave no reason'}"
    )
