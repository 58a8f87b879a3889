"""Server-sent events: what happens to a run, until it has ended or the server closes."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator

import anyio
from starlette.concurrency import run_in_threadpool

from droplab.lab._limits import Refusal
from droplab.lab._queue import RunQueue
from droplab.lab._run import Run

POLL = 0.1
"""Seconds between two looks at a run that is trained here."""

DISK_POLL = 1.0
"""The same for a run that another process writes."""

QUIET = 15.0
"""Seconds without an event after which a comment shows that the stream is alive."""


async def stream(
    queue: RunQueue, id: str, known: str, closing: threading.Event
) -> AsyncIterator[bytes]:
    """Yield a run's events: what was missed since the event `known`, or a snapshot first."""
    yield b"retry: 1000\n\n"
    spoke = time.monotonic()
    while not closing.is_set():
        try:
            run = queue.at_hand(id) or await run_in_threadpool(queue.find, id)
        except Refusal:
            break  # it was deleted
        events = run.missed(known)
        if events is None:
            events = [await run_in_threadpool(run.snapshot_event)]
        for at, event, text in events:
            known = at
            yield _event(at, event, text)
        now = time.monotonic()
        if events:
            spoke = now
        elif now - spoke > QUIET:
            spoke = now
            yield b":\n\n"
        if run.all_told(known):
            yield _event(known, "end", "{}")
            return
        await _wait(POLL if _is_here(queue, run) else DISK_POLL, closing)


async def _wait(seconds: float, closing: threading.Event) -> None:
    until = time.monotonic() + seconds
    while not closing.is_set() and time.monotonic() < until:
        await anyio.sleep(min(POLL, seconds))


def _is_here(queue: RunQueue, run: Run) -> bool:
    return queue.at_hand(run.id) is run


def _event(at: str, event: str, text: str) -> bytes:
    return f"id: {at}\nevent: {event}\ndata: {text}\n\n".encode()
