"""Tasks in forked children, all at once: one that crashes or hangs leaves the others alone."""

from __future__ import annotations

import os
import selectors
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TypedDict


class Raw(TypedDict):
    """What is known about a process that has ended.

    Args:
        text: What it wrote to its channel.
        status: Its exit status, negative for a signal; None if it was killed for being late.
    """

    text: str
    status: int | None


def isolate(tasks: Sequence[Callable[[int], None]], seconds: float) -> list[Raw]:
    """Run each task in a child of its own and wait for all of them.

    Args:
        tasks: Called with the file descriptor of the task's channel.
        seconds: After this long, whatever still runs is killed.
    """
    children = [_start(task) for task in tasks]
    texts = {reading: b"" for _, reading in children}
    late = set[int]()
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pid, reading in children:
            selector.register(reading, selectors.EVENT_READ, pid)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                for key in list(selector.get_map().values()):
                    late.add(key.data)
                    os.kill(key.data, 9)
                    selector.unregister(key.fd)
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                texts[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
    ended: list[Raw] = []
    for pid, reading in children:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text = texts[reading].decode(errors="replace")
        ended.append({"text": text, "status": None if pid in late else status})
    return ended


def _start(task: Callable[[int], None]) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.close(reading)
            task(writing)
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    os.close(writing)
    return pid, reading
