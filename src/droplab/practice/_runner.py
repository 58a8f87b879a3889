"""Runs exercises in a process of their own, with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

from droplab.child import Child
from droplab.errors import RunError
from droplab.practice._exercise import Claim, Code, Exercise
from droplab.practice._result import Result
from droplab.practice._trace import Trace

START_SECONDS = 180.0
"""How long an interpreter may take to import torch, on a slow and busy machine."""

_GRACE = 10.0
"""How long a process with torch may take to end what it runs, once its time is over."""

_QUIET = {
    # A snippet runs on one thread and on the CPU: the same numbers everywhere, and safe to fork.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONIOENCODING": "utf-8",
}


class _Worker(Child):
    """An interpreter with torch, away from the files of the reader."""

    def __init__(self) -> None:
        code = "from droplab.practice._worker import main; main()"
        super().__init__(code, folder=tempfile.gettempdir(), environment=_QUIET)
        self._told = queue.SimpleQueue[dict[str, Any] | None]()
        self._group = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        # In a thread, since the output need not end when the process does: whatever an option
        # has started may hold it open.
        with self.output:
            for message in self.messages():
                if "group" in message:
                    self._group = message["group"]
                else:
                    self._group = 0 if "done" in message else self._group
                    self._told.put(message)
        self._told.put(None)

    def _kill_group(self) -> None:
        super()._kill_group()
        # A snippet and what it starts have a group of their own, which ends without its parent.
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)

    def run(self, exercise: Exercise, chosen: Sequence[int], *, fork: bool) -> list[Trace]:
        """Run some of the options; what is not done when the time is over is killed.

        Raises:
            RunError: If the process ended, and it was not an option that ended it.
        """
        options = [_option(exercise, exercise.options[index]) for index in chosen]
        job = {"snippet": exercise.snippet, "seconds": exercise.seconds, "fork": fork}
        self.say(json.dumps({**job, "options": options}))
        traces = [Trace() for _ in chosen]
        limit, begun = time.monotonic() + START_SECONDS, False
        try:
            while message := self._told.get(timeout=max(0.0, limit - time.monotonic())):
                if "done" in message:
                    break
                if "torch" in message:
                    # The forks are ended by the process that made them, which can do so alone.
                    patience = exercise.seconds + (_GRACE if fork else 0.0)
                    limit, begun = time.monotonic() + patience, True
                whose = message.pop("option", None)
                for trace in traces if whose is None else [traces[whose]]:
                    trace.take(message)
        except queue.Empty:
            self.kill()
        else:
            if message is None:
                if begun and not fork:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        left = max(0.0, limit - time.monotonic())
                        traces[0].take({"status": self._process.wait(left)})
                elif any(trace.status is None for trace in traces):
                    begun = False
                self.kill()
        if not begun:
            raise RunError(
                "practice: a process with torch should have run the snippets, and it ended "
                f"instead: {self.last_words() or 'it gave no reason'}"
            )
        return traces

    def preload(self, exercise: Exercise) -> None:
        """Import what the exercise needs."""
        self.say(json.dumps({"snippet": exercise.snippet, "options": []}))

    def close(self) -> None:
        """End it and let go of its files."""
        self.kill()
        with contextlib.suppress(OSError):
            cast("IO[bytes]", self._process.stdin).close()
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
        self._warm: _Worker | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def warm(self, exercise: Exercise) -> None:
        """Begin to load what the exercise needs, and return at once."""
        if self._fork:
            with self._lock:
                self._ready().preload(exercise)

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
        warm, self._warm = self._warm, None
        if warm is not None:
            warm.close()

    def _ready(self) -> _Worker:
        if self._warm is not None and self._warm.ended:
            self.close()
        if self._warm is None:
            self._warm = _Worker()
        return self._warm

    def _forked(self, exercise: Exercise) -> list[Trace]:
        try:
            return self._ready().run(exercise, range(len(exercise.options)), fork=True)
        except BaseException:
            # Interrupted: the answer may still come, and must not be taken for the next one's.
            self.close()
            raise

    def _alone(self, exercise: Exercise) -> list[Trace]:
        def one(index: int) -> Trace:
            worker = _Worker()
            try:
                return worker.run(exercise, [index], fork=False)[0]
            finally:
                worker.close()

        with ThreadPoolExecutor(len(exercise.options)) as pool:
            return list(pool.map(one, range(len(exercise.options))))


def run(exercise: Exercise, answer: str = "") -> Result:
    """Run one exercise in a process that ends with it.

    Arguments, errors and randomness are those of `Runner.run`.
    """
    with Runner() as runner:
        return runner.run(exercise, answer)


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
