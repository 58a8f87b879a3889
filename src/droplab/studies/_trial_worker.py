"""Trials in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from droplab.errors import ArgumentError, RunError
from droplab.recipe import Recipe
from droplab.studies._loop_trial import Trial, run_trial
from droplab.studies._worker_pool import Teller


def work(
    connection: Teller,
    folder: Path,
    recipe: Recipe,
    arm: str,
    seed: int,
    train: Callable[[Trial], Any],
    keep: Path,
) -> None:
    """Run one trial, and send its rows and how it ended; `keep` is relative to the folder."""
    try:
        connection.send(run_trial(recipe, arm, seed, train, connection.send, folder / keep))
    finally:
        connection.close()


def is_importing() -> bool:
    """Whether this process is a worker that only imports its driver's script."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def check_can_send(train: Callable[[Trial], Any]) -> bool:
    """Return whether workers need the caller's script to find a function.

    Raises:
        ArgumentError: If another process could not find it.
        RunError: If the script has no guard, so that every worker would begin the study again.
    """
    try:
        sent = pickle.dumps(train)
    except Exception as error:  # whatever somebody's objects do when they are pickled
        raise ArgumentError(
            "workers: expected a function that another process can import, defined at the top of "
            f"a module, got {train!r}; define it there, or leave workers out ({error})"
        ) from error
    if b"__main__" not in sent:
        return False
    file = getattr(sys.modules["__main__"], "__file__", None)
    text = ""
    if file is not None:
        with contextlib.suppress(OSError, ValueError):
            text = Path(file).read_text(encoding="utf-8")
    if not text:
        raise ArgumentError(
            "workers: expected a function that another process can import, got one of this "
            "session alone; put it into a file and import it, or leave workers out"
        )
    if "__main__" not in text:
        raise RunError(
            f"workers: {file} is imported by every worker, and would begin the study again; put "
            'what calls study.run under if __name__ == "__main__":'
        )
    return True
