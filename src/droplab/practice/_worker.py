"""The process that runs exercises: `serve` where there is fork, `alone` elsewhere.

Both run the same stages by the same functions. With fork, torch is imported once for all
exercises, and a snippet runs once for all its options; without, every option has an interpreter
to itself.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import selectors
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from droplab.practice._perform import (
    Channel,
    Printed,
    StoppedError,
    run_option,
    run_stage,
    settle,
    within,
)
from droplab.practice._reading import Raw

Job = dict[str, Any]

GRACE = 15.0
"""Seconds after which a process is killed that has escaped its time limit."""


def serve() -> None:
    """Answer requests, a JSON object a line, until the input ends."""
    import torch

    torch.set_num_threads(1)
    answers = _take_output()
    for line in sys.stdin.buffer:
        job: Job = json.loads(line)
        _preload(job["snippet"])
        if job["options"]:
            # Twice the limit: the snippet has it once, and the options, side by side, once more.
            raw = isolate([partial(_snippet, job)], 2 * job["seconds"] + 2 * GRACE)
            answers.send(torch=torch.__version__, raw=raw)


def alone() -> None:
    """Run the one option of the job that is on the input."""
    channel = _take_output()
    job: Job = json.loads(sys.stdin.buffer.read())
    import torch

    channel.send(torch=torch.__version__)
    settle(channel)
    names = {"__name__": "snippet"}
    with contextlib.suppress(StoppedError):
        with within(job["seconds"]):
            run_stage("snippet", job["snippet"], names, channel)
        with within(job["seconds"]):
            run_option(job["options"][0], names, channel)


def _snippet(job: Job, descriptor: int) -> None:
    channel = Channel(descriptor)
    settle(channel)
    names = {"__name__": "snippet"}
    with contextlib.suppress(StoppedError):
        with within(job["seconds"]):
            run_stage("snippet", job["snippet"], names, channel)
        tasks = [partial(_option, job, index, names) for index in range(len(job["options"]))]
        channel.send(options=isolate(tasks, job["seconds"] + GRACE))


def _option(job: Job, index: int, names: dict[str, Any], descriptor: int) -> None:
    channel = Channel(descriptor)
    sys.stdout = sys.stderr = Printed(channel)
    with within(job["seconds"]):
        run_option(job["options"][index], names, channel)


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


def _take_output() -> Channel:
    """Keep the standard output for messages; nothing else that writes there may reach it."""
    channel = Channel(os.dup(1))
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    return channel


def _preload(code: str) -> None:
    """Import what the snippet imports before it is forked off, once for all exercises."""
    wanted = list[str]()
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted.append(node.module)
    if "optim" in code:
        # A torch optimizer imports this at its first step, which takes a second or two.
        wanted.append("torch._dynamo")
    for name in wanted:
        # What fails here fails again in the snippet, where it is told to the reader.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
