"""Processes that do one task each and tell their driver about it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import torch.multiprocessing as multiprocessing  # teaches pickle to send tensors as shared memory

_LOG = logging.getLogger("droplab.studies")

PRELOADED = "droplab.studies._preloaded"

ATTEMPTS = 2
"""How often a task is begun whose process dies: a second time in case it was killed."""

T = TypeVar("T")


class Teller(Protocol):
    """Where a task tells its driver what happens: the end of a pipe, or of a cluster's."""

    def send(self, obj: Any, /) -> None:
        """Tell something."""
        ...

    def close(self) -> None:
        """Tell nothing more."""
        ...


class Pool(Protocol[T]):
    """Who does tasks: processes of this machine, or those of a cluster."""

    def run(
        self,
        tasks: Sequence[T],
        *,
        arguments: Callable[[T], Sequence[Any]],
        needs: Callable[[T], Sequence[Path]],
        take: Callable[[T, Any], bool],
        lost: Callable[[T, str], Sequence[T]],
    ) -> None:
        """Do all tasks; return when all are done.

        Args:
            tasks: What is to be done, in this order.
            arguments: Called before a task begins; what its process gets.
            needs: Which files of the folder a task reads, relative to it.
            take: Called with a task and what its process tells; returns whether it is done with it.
            lost: Called with a task whose process ended before it was done, and how, in words;
                returns what is to be done instead.
        """
        ...


@dataclasses.dataclass
class Running(Generic[T]):
    """A worker at its task.

    Attributes:
        task: What it does.
        process: The process.
        connection: Where it tells.
        finished: Whether it has told that it is done.
    """

    task: T
    process: BaseProcess
    connection: Connection
    finished: bool = False


class WorkerPool(Generic[T]):
    """Some processes at a time, a new one for each task; all end with this one.

    Args:
        target: What a process runs, called with a connection, the folder, and what `arguments`
            gives; a function that another process can import.
        folder: Where a task finds and leaves its files.
        limit: Processes at a time.
        main: Whether a process imports the caller's script, for what is defined in it. A script
            then needs the usual guard, `if __name__ == "__main__":`.
    """

    def __init__(
        self, target: Callable[..., None], folder: Path, limit: int, *, main: bool = False
    ) -> None:
        self._main = main
        self._target = target
        self._folder = folder
        self._limit = max(1, limit)
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload([target.__module__, PRELOADED])
        self.running: list[Running[T]] = []

    def run(
        self,
        tasks: Sequence[T],
        *,
        arguments: Callable[[T], Sequence[Any]],
        needs: Callable[[T], Sequence[Path]],
        take: Callable[[T, Any], bool],
        lost: Callable[[T, str], Sequence[T]],
    ) -> None:
        """Do all tasks, as `Pool` says; they find the files that they need where these are."""
        del needs
        waiting = list(reversed(tasks))
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self._limit:
                    task = waiting.pop()
                    self._start(task, arguments(task))
                waiting += reversed(self._listen(take, lost))
        finally:
            for worker in self.running:
                worker.process.terminate()
            for worker in self.running:
                worker.process.join()
                worker.connection.close()

    def _start(self, task: T, arguments: Sequence[Any]) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_begin, args=(self._target, sender, self._folder, *arguments)
        )
        with contextlib.nullcontext() if self._main else _no_main_module():
            process.start()
        sender.close()
        self.running.append(Running(task, process, receiver))
        _LOG.debug("worker process %s started", process.pid)

    def _listen(
        self, take: Callable[[T, Any], bool], lost: Callable[[T, str], Sequence[T]]
    ) -> list[T]:
        """Take what workers tell; return the tasks to begin instead of those that were lost."""
        again: list[T] = []
        ready = wait([worker.connection for worker in self.running])
        for worker in [each for each in self.running if each.connection in ready]:
            try:
                worker.finished |= take(worker.task, worker.connection.recv())
            except EOFError:
                self.running.remove(worker)
                worker.connection.close()
                worker.process.join()
                code = worker.process.exitcode
                _LOG.debug("worker process %s ended, exit code %s", worker.process.pid, code)
                if not worker.finished:
                    again += lost(worker.task, f"exit code {code}")
        return again


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    """Do a task in a process that ends when its driver does, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    target(*arguments)


def _end_with_the_driver() -> None:
    driver = parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep a new process from running the caller's script, which has no guard as a rule."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
