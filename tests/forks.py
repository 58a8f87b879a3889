"""Processes that begin in no time: forks of the server that droplab's own workers come from."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from droplab.studies._worker import work
from droplab.studies._worker_pool import WorkerPool

needs_forks = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs a fork server"
)


def fork(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """Begin `target`, a function of a module, in a process that has torch; return the process.

    The server has one thread and trains nothing, so that what it forks can. A fork knows nothing of
    the tests before it; it has the folder and the environment of this process.
    """
    WorkerPool(work, Path(), 1)  # says what the server loads, if this begins it
    context = multiprocessing.get_context("forkserver")
    begun, begins = context.Pipe(duplex=False)
    with begun:
        with begins:
            here = (begins, Path.cwd(), dict(os.environ))
            process = context.Process(target=_begin, args=(*here, target, *arguments))
            process.start()
        begun.recv()  # the server may have been begun for it
    return process


def _begin(
    begins: Connection,
    folder: Path,
    environment: dict[str, str],
    target: Callable[..., object],
    *arguments: object,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    begins.send(None)
    begins.close()
    target(*arguments)
