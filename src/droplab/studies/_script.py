"""Trials that are runs of a script: what starts them, and what a script asks for its trial."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from torch import nn

from droplab.documents import parse_json
from droplab.errors import RunError, quote
from droplab.numeric import real
from droplab.ops.rank import rank
from droplab.recipe import Recipe, dumps, loads
from droplab.results import EpochRow
from droplab.studies._ended import Ended
from droplab.studies._folders import file_stem
from droplab.studies._loop_trial import Trial
from droplab.studies._study_driver import StudyDriver

VARIABLE = "DROPLAB_TRIAL"
"""Where a script finds its trial: a file, which it takes out of its environment at once."""

_OFTEN = 0.1
"""Seconds between two looks at what scripts have told."""

M = TypeVar("M", bound=nn.Module)
B = TypeVar("B")


class FreeTrial:
    """What `trial` returns outside a study: nothing is placed, and what is reported is printed.

    Attributes:
        arm: "none".
        seed: 0.
        name: "none".
        metrics: Nothing, since nobody has declared any.
        rng: A generator of numpy's with this seed.
    """

    def __init__(self) -> None:
        self.arm, self.seed, self.name = "none", 0, "none"
        self.metrics: tuple[str, ...] = ()
        self.rng = np.random.default_rng(0)

    def place(self, model: M, example: Any = None) -> M:
        """Return the model as it is."""
        return model

    def epochs(self, n: int) -> Iterator[int]:
        """Yield 1 to n."""
        yield from range(1, n + 1)

    def checkpoint(self, *parts: Any, every: float = 60.0) -> None:
        """Keep nothing: only a study goes on where it was stopped."""

    def batches(self, loader: Iterable[B]) -> Iterator[B]:
        """Yield what the loader gives."""
        yield from loader

    def report(self, **metrics: Any) -> None:
        """Print what was measured."""
        numbers = ((name, real(value)) for name, value in metrics.items())
        print(", ".join(f"{name} {value:.4g}" for name, value in numbers if value is not None))


def trial() -> Trial | FreeTrial:
    """Return the trial that this script is run for by `droplab study`.

    Outside a study it returns one that places nothing and prints what is reported, so that the
    script still runs by itself.

    Raises:
        RunError: If the script has asked before, or what started it is not to be read.

    Example:
        >>> mine = trial()
        >>> mine.arm, mine.seed, list(mine.epochs(2))
        ('none', 0, [1, 2])
        >>> mine.report(val_loss=0.5)
        val_loss 0.5
    """
    # loader workers, and what the script starts itself, must not take themselves for the trial
    place = os.environ.pop(VARIABLE, None)
    if place is None:
        return FreeTrial()
    try:
        asked: Any = parse_json(Path(place).read_text(encoding="utf-8"))
        recipe = loads(asked["recipe"])
        arm, seed, told = str(asked["arm"]), int(asked["seed"]), Path(asked["told"])
        keep, driver = Path(asked["keep"]), int(asked["driver"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{VARIABLE}={quote(place)}: expected what droplab study leaves there ({error}); start "
            "the script with droplab study, or take the variable away"
        ) from error
    file = told.open("a", encoding="utf-8")
    found = Trial(recipe, arm, seed, lambda row: _tell(file, row=asdict(row)), keep)
    threading.Thread(target=_end_with, args=(driver, os.getppid()), daemon=True).start()
    raised = _note_errors()

    def close() -> None:
        ended = asdict(found.close(raised[0] if raised else None))
        if not rank() or raised:  # of processes that train together, the first one reports
            _tell(file, ended=ended, raised=bool(raised))
        file.close()

    atexit.register(close)
    found.open()
    return found


def _note_errors() -> list[BaseException]:
    """Return a list into which the error goes that ends this process."""
    found: list[BaseException] = []
    before = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        found.append(error)
        before(kind, error, trace)

    sys.excepthook = note
    return found


def _tell(file: IO[str], **message: Any) -> None:
    file.write(json.dumps(message) + "\n")
    file.flush()


def _end_with(driver: int, parent: int) -> None:
    while not _is_over(driver, parent):
        time.sleep(1)
    os._exit(1)


def _is_over(driver: int, parent: int) -> bool:
    """Whether the driver has ended, or what has started this process: torchrun, for example."""
    if os.getppid() != parent:
        return True
    if os.name != "posix" or parent == driver:
        return False
    try:
        os.kill(driver, 0)  # asks, and does nothing else
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@dataclass
class _Child:
    """A script at its trial."""

    arm: str
    seed: int
    process: subprocess.Popen[bytes]
    told: IO[str]
    log: Path
    rest: str = ""
    ended: Ended | None = None
    raised: bool = False

    def messages(self) -> Iterator[Mapping[str, Any]]:
        """Yield what it has told since the last time; a line that is not whole yet is left."""
        self.rest += self.told.read()
        *lines, self.rest = self.rest.split("\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def outcome(self) -> Ended:
        """Return how the trial ended, after its process has."""
        code = self.process.returncode
        if self.ended is not None and (code == 0 or self.raised):
            return self.ended
        if code == 0:
            what = "it ended without a word of its trial; call droplab.trial() in the script"
        else:
            what = f"it ended with exit code {code}"
        last = _last_line(self.log)
        return Ended("failed", f"{what} ({last + '; ' if last else ''}{self.log})")


def run_scripts(
    driver: StudyDriver,
    recipe: Recipe,
    command: Sequence[str],
    folder: Path,
    count: int,
) -> None:
    """Run a script once for each trial that is not done, `count` at a time.

    What it prints goes to a file a trial, in `logs` of the study's folder.
    """
    waiting, running = driver.todo()[::-1], list[_Child]()
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="droplab-") as place:
        try:
            while waiting or running:
                while waiting and len(running) < count:
                    arm, seed = waiting.pop()
                    driver.begin(arm, seed)
                    log = logs / f"{file_stem(recipe, arm, seed)}.txt"
                    keep = driver.keep(arm, seed)
                    running.append(_start(recipe, arm, seed, command, Path(place), log, keep))
                for child in list(running):
                    over = child.process.poll() is not None  # before the last look
                    for message in child.messages():
                        if "row" in message:
                            driver.row(EpochRow(**message["row"]))
                        else:
                            child.ended = Ended(**message["ended"])
                            child.raised = message["raised"]
                    if over:
                        running.remove(child)
                        child.told.close()
                        killed = child.process.returncode < 0
                        driver.end(child.arm, child.seed, child.outcome(), again=killed)
                time.sleep(_OFTEN)
        finally:
            for child in running:
                child.process.kill()
                child.process.wait()
                child.told.close()


def _start(
    recipe: Recipe,
    arm: str,
    seed: int,
    command: Sequence[str],
    place: Path,
    log: Path,
    keep: Path,
) -> _Child:
    stem = file_stem(recipe, arm, seed)
    told, asked = place / f"{stem}.jsonl", place / f"{stem}.json"
    told.touch()
    about = {"recipe": dumps(recipe), "arm": arm, "seed": seed, "told": str(told)}
    about["keep"] = str(keep.absolute())
    asked.write_text(json.dumps({**about, "driver": os.getpid()}), encoding="utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, VARIABLE: str(asked)},
        )
    return _Child(arm, seed, process, told.open(encoding="utf-8"), log)


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-10_000:].decode(errors="replace").strip().splitlines()
        return next((line[:300] for line in reversed(lines) if re.search(r"\w", line)), "")
    return ""
