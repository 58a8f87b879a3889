"""The queue of runs: one is trained at a time, in a worker; the others wait."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from droplab.lab import _limits as limits
from droplab.lab._disk import RunsOnDisk
from droplab.lab._limits import Refusal
from droplab.lab._process import Start, Worker
from droplab.lab._run import OFTEN, Run, State
from droplab.recipe import Recipe

STOP_GRACE = 10.0
"""Seconds that a worker has to stop before it is killed; a step may be long."""

CLOSE_GRACE = 0.8
"""The same when the server ends."""

PAUSE = 20
"""A look at the rows of the run at work is followed by so many times its own length without one."""

_REMEMBERED = 40
"""Runs that are kept though they ended before anything of them was on disk."""


class RunQueue:
    """Keeps the runs that wait, trains one after the other in a worker, and finds any run.

    Args:
        root: The folder of the runs.
        start: Starts a worker.
        warm: Keep a worker ready while none is needed, so that a run begins at once.
    """

    def __init__(self, root: Path, *, start: Start, warm: bool = False) -> None:
        self.disk = RunsOnDisk(root)
        self._start = start
        self._warm = warm
        self._lock = threading.RLock()
        self._active: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()
        self._running: tuple[Run, Worker] | None = None
        self._spare: Worker | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def open(self) -> None:
        """Get a worker ready."""
        with self._lock:
            if self._warm and self._spare is None and self._running is None and not self._closing:
                with contextlib.suppress(OSError):
                    self._spare = self._start()

    def add(self, recipe: Recipe) -> Run:
        """Put a new run into the queue.

        Raises:
            Refusal: Too many runs wait, or the lab is closing.
        """
        with self._lock:
            self._check_room()
            run = Run(self._free_id(recipe), recipe)
            self._active[run.id] = run
            self._waiting.append(run)
            self._next()
            return run

    def _check_room(self) -> None:
        if self._closing:
            raise Refusal(503, "the lab is closing")
        if len(self._waiting) >= limits.QUEUE:
            raise Refusal(429, f"{limits.QUEUE} runs are waiting already; stop one, or wait")

    def _free_id(self, recipe: Recipe) -> str:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.name).strip("-.")[:60] or "run"
        first = id = f"{name}-{recipe.digest[:8]}"
        number = 1
        while id in self._active or (self.disk.root / id).exists():
            number += 1
            id = f"{first}-{number}"
        return id

    def stop(self, id: str) -> Run:
        """End a run: at once if it waits, else as soon as its worker has closed it.

        Raises:
            Refusal: There is no such run, or it is not at work here.
        """
        with self._lock:
            run = self.find(id)
            if run in self._waiting:
                self._waiting.remove(run)
                self._leave(run, "stopped", "it was taken out of the queue")
            elif self._running is not None and self._running[0] is run:
                if run.state == "running":
                    run.set_state("stopping")
                    self._running[1].stop(STOP_GRACE)
            else:
                raise Refusal(409, f"the run is {run.state} and not at work here")
            return run

    def resume(self, id: str) -> Run:
        """Put a run into the queue again that was stopped or has failed.

        Raises:
            Refusal: There is no such run, it is not to be resumed, or too many wait.
        """
        with self._lock:
            run = self.find(id)
            if run.state not in ("stopped", "failed"):
                raise Refusal(409, f"the run is {run.state}; only a stopped or failed one goes on")
            check_own(run.recipe, "resume it with droplab run and --resume")
            self._check_room()
            self._active[id] = run
            run.set_state("queued")
            self._waiting.append(run)
            self._next()
            return run

    def find(self, id: str) -> Run:
        """Return the run with this id, waiting, at work or on disk.

        Raises:
            Refusal: There is none, or it cannot be read.
        """
        run = self.at_hand(id)
        return run if run is not None else self.disk.run(id)

    def at_hand(self, id: str) -> Run | None:
        """Return the run if it waits or is at work here, without a look at the disk."""
        return self._active.get(id)  # without the lock: the event loop asks

    def summaries(self) -> dict[str, Any]:
        """Return all runs, the newest first, and the folders that cannot be read."""
        with self._lock:
            active = dict(self._active)
        found = [run.summary() for run in active.values()]
        unreadable: list[dict[str, str]] = []
        for id in self.disk.ids():
            if id in active:
                continue
            try:
                found.append(self.disk.summary(id))
            except Refusal as refusal:
                unreadable.append({"id": id, "message": refusal.message})
        found.sort(key=lambda run: run["created"], reverse=True)
        return {"runs": found, "unreadable": unreadable}

    def _next(self) -> None:
        """Begin the run that waits longest, if none is at work."""
        if self._closing or self._running is not None or not self._waiting:
            return
        run = self._waiting.popleft()
        try:
            worker, self._spare = self._spare or self._start(), None
        except OSError as error:
            self._leave(run, "failed", f"no process can be started for it ({error})")
            self._next()
            return
        self._running = (run, worker)
        run.set_state("running")
        self._thread = threading.Thread(
            target=self._drive, args=(run, worker), name=f"lab {run.id}", daemon=True
        )
        self._thread.start()

    def _drive(self, run: Run, worker: Worker) -> None:
        folder = self.disk.root / run.id
        worker.send(run.recipe, folder, resume=(folder / "run.sqlite").is_file())
        last: dict[str, Any] = {}
        seen, look = (), 0.0
        try:
            for message in worker.messages():
                if message.get("event") in ("done", "stopped", "failed"):
                    last = message
                    continue
                run.take(message)
                began = time.monotonic()
                if began >= look:
                    seen = self.disk.refresh(run, seen)
                    ended = time.monotonic()
                    look = ended + max(OFTEN, PAUSE * (ended - began))
        except Exception as error:  # a defect must not keep every other run from beginning
            worker.kill()
            last = {"event": "failed", "message": f"{type(error).__name__}: {error}"}
        self._end(run, worker, last)

    def _end(self, run: Run, worker: Worker, last: dict[str, Any]) -> None:
        state, message = last.get("event", "failed"), last.get("message", "")
        if state == "failed" and (run.state == "stopping" or self._closing):
            state, message = "stopped", ""
        elif state == "failed" and not message:
            message = f"{worker.reason()}; every finished epoch is kept, resume to go on"
        self._leave(run, state, message)
        with self._lock:
            self._running = None
            self._next()
            self.open()

    def _leave(self, run: Run, state: State, message: str) -> None:
        """Let a run that has ended be one of those on disk, if it came so far."""
        on_disk = False
        try:
            if self._closing:  # then nobody will look, and there is no time
                run.set_state(state, message)
            else:
                on_disk = self.disk.take_over(run, state, message)
        except Exception as error:  # see _drive
            run.set_state("failed", f"{type(error).__name__}: {error}")
        with self._lock:
            gone = [id for id, each in self._active.items() if each.ended][:-_REMEMBERED]
            for id in [run.id] if on_disk else gone:
                self._active.pop(id, None)

    def begin_close(self) -> None:
        """Start nothing any more, and ask the worker to end."""
        with self._lock:
            self._closing = True
            spare, self._spare = self._spare, None
            running = self._running
        if spare is not None:
            spare.kill()
        if running is not None:
            running[1].stop(CLOSE_GRACE)

    def close(self) -> None:
        """End the worker; return when it has gone."""
        self.begin_close()
        until = time.monotonic() + CLOSE_GRACE + 0.4
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            running = self._running
        if running is not None:
            running[1].kill()


def check_own(recipe: Recipe, instead: str) -> None:
    """Raise a Refusal if a recipe names code or files: those are run on the command line only.

    Args:
        recipe: The recipe of a run.
        instead: What the command line has for it.
    """
    if not recipe.model.path.isidentifier() or recipe.data.name is None:
        raise Refusal(
            409,
            f"the run has a model or data of your own, which the lab does not load; {instead}",
        )
