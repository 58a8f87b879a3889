"""The process that trains one run: what it does, and what it tells the server.

It reads lines on its input: first the job, then "stop". It writes one JSON object a line on its
output: how many steps are done, and how it ended. What it has measured it writes to the run's
folder, where the server reads it. When its input ends, the server has died, and it ends as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from droplab.child import Output

if TYPE_CHECKING:
    from droplab.recipe import Recipe
    from droplab.results import TestRow
    from droplab.train import ExecutionPlan

NICE = 5
"""How far the priority is lowered, so that the page stays responsive."""

GRACE = 0.4
"""Seconds that a worker without a server takes to close its run before it is killed."""

_OFTEN = 0.1
"""Seconds between two messages about steps."""


def main() -> None:
    """Train the run that the first line of the input describes."""
    tell = _Output()
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    _heed_interrupts()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICE)
    try:
        _train(tell, jobs)
    except KeyboardInterrupt:
        tell("stopped")
    tell.close()
    # The run is closed. To take torch apart piece by piece would need seconds on a busy machine.
    sys.stderr.flush()
    os._exit(0)


def _train(tell: _Output, jobs: queue.Queue[dict[str, Any]]) -> None:
    from droplab.errors import DroplabError
    from droplab.recipe import loads
    from droplab.studies import run

    job = jobs.get()
    try:
        recipe = loads(job["recipe"])
        run(recipe, Path(job["folder"]), resume=job["resume"], observer=_teller(tell))
    except DroplabError as error:
        tell("failed", message=str(error))
    except MemoryError:
        tell("failed", message="there was not enough memory; take fewer arms or seeds")
    except Exception as error:
        tell("failed", message=f"{type(error).__name__}: {error}")
    else:
        tell("done")


def _heed_interrupts() -> None:
    """Turn SIGINT into KeyboardInterrupt, though a shell may have it ignored.

    Once: a second one would break off the closing of the run, which the first one began.
    """

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _listen(stream: IO[bytes], jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in stream:
        word = line.strip()
        if word == b"stop":
            _interrupt()
        elif word:
            jobs.put(json.loads(word))
    # The server has gone. What is confirmed is safe; the run is closed if that is quickly done.
    _interrupt()
    time.sleep(GRACE)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _interrupt() -> None:
    """Raise KeyboardInterrupt in the main thread, also where it waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


class _Output(Output):
    def __call__(self, event: str, **content: Any) -> None:
        """Tell of one event."""
        self.send(event=event, **content)


def _teller(tell: _Output) -> Any:
    """Return an observer that tells how far the run is; made late, as its class needs torch."""
    from droplab.studies import Observer, named

    class Teller(Observer):
        def __init__(self) -> None:
            self._steps = self._done = 0
            self._told = 0.0

        def data_progress(self, what: str, done: int, total: int | None) -> None:
            if self._due() or done == total:
                tell("data", what=what, done=done, total=total)

        def noted(self, note: str) -> None:
            tell("note", message=note)

        def started(
            self, recipe: Recipe, folder: Path, plan: ExecutionPlan, steps: int, steps_done: int
        ) -> None:
            self._steps, self._done = steps, steps_done
            tell("started", steps=steps, steps_done=steps_done)

        def steps_done(self, members: Sequence[tuple[str, int]], steps: int) -> None:
            self._done += steps * len(members)
            if self._due() or self._done >= self._steps:
                tell("steps", steps_done=self._done, what=named(members))

        def _due(self) -> bool:
            now = time.monotonic()
            if now - self._told < _OFTEN:
                return False
            self._told = now
            return True

        def group_halved(self, before: int, after: int) -> None:
            tell("note", message=f"not enough memory for {before} replicas: now {after} at a time")

        def tested(self, row: TestRow) -> None:
            tell("steps", steps_done=self._done, what="the test split")

    return Teller()
