"""Trials that are runs of a script: what starts them, and what a script asks for its trial."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
from droplab.studies._worker_pool import Teller
from droplab.studies.cluster import RayCluster

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
    """A script at its trial; `named` is where its log is in the end."""

    arm: str
    seed: int
    process: subprocess.Popen[bytes]
    told: IO[str]
    log: Path
    named: Path
    rest: str = ""
    ended: Ended | None = None
    raised: bool = False

    def rows(self) -> Iterator[EpochRow]:
        """Yield what it has measured since the last time; a line that is not whole yet is left."""
        self.rest += self.told.read()
        *lines, self.rest = self.rest.split("\n")
        for line in lines:
            message: dict[str, Any] = {}
            with contextlib.suppress(ValueError):
                message = json.loads(line)
            if "row" in message:
                yield EpochRow(**message["row"])
            elif message:
                self.ended, self.raised = Ended(**message["ended"]), message["raised"]

    def stop(self) -> None:
        """End it, if it has not ended by itself."""
        self.process.kill()
        self.process.wait()
        self.told.close()

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
        said = f"{what} ({last + '; ' if last else ''}{self.named})"
        return Ended("failed", said, killed=code < 0)


def run_scripts(
    driver: StudyDriver,
    recipe: Recipe,
    command: Sequence[str],
    folder: Path,
    count: int,
    cluster: RayCluster | None = None,
) -> None:
    """Run a script once for each trial that is not done, `count` at a time, or on a cluster.

    What it prints goes to a file a trial, in `logs` of the study's folder.
    """
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    if cluster is not None:
        asked = tuple(command), logs
        driver.run_beside(
            driver.todo(), asked, count, main=False, cluster=cluster, target=work_script
        )
        return
    waiting, running = driver.todo()[::-1], list[_Child]()
    with tempfile.TemporaryDirectory(prefix="droplab-") as place:
        try:
            while waiting or running:
                while waiting and len(running) < count:
                    arm, seed = waiting.pop()
                    driver.begin(arm, seed)
                    log = logs / f"{file_stem(recipe, arm, seed)}.txt"
                    keep = driver.keep(arm, seed)
                    running.append(_start(recipe, arm, seed, command, Path(place), log, log, keep))
                for child in list(running):
                    over = child.process.poll() is not None  # before the last look
                    for row in child.rows():
                        driver.row(row)
                    if over:
                        running.remove(child)
                        child.told.close()
                        driver.end(child.arm, child.seed, child.outcome())
                time.sleep(_OFTEN)
        finally:
            for child in running:
                child.stop()


def work_script(
    connection: Teller,
    folder: Path,
    recipe: Recipe,
    arm: str,
    seed: int,
    asked: tuple[Sequence[str], Path],
    keep: Path,
) -> None:
    """Run a script for one trial, and send its rows, what it keeps, its log, and how it ended.

    Args:
        connection: To the driver.
        folder: What stands for the study's folder here. The script writes elsewhere, so that no
            file is sent that it has not finished.
        recipe: The study.
        arm: Name of the arm.
        seed: The seed.
        asked: The script with its arguments, and where logs are in the end.
        keep: What an earlier attempt has kept, relative to the folder.
    """
    command, logs = asked
    named = logs / f"{file_stem(recipe, arm, seed)}.txt"
    with tempfile.TemporaryDirectory(prefix="droplab-") as name:
        place = Path(name)
        log, own = place / "log.txt", place / keep.name
        if (folder / keep).exists():
            shutil.copyfile(folder / keep, own)
        child = _start(recipe, arm, seed, command, place, log, named, own)
        sent = own.stat().st_mtime_ns if own.exists() else None
        try:
            over = False
            while not over:
                over = child.process.poll() is not None
                for row in child.rows():
                    if own.exists() and (changed := own.stat().st_mtime_ns) != sent:
                        shutil.copyfile(own, folder / keep)
                        sent = changed
                    connection.send(row)
                time.sleep(0 if over else _OFTEN)
            (folder / logs.name).mkdir(exist_ok=True)
            shutil.copyfile(log, folder / logs.name / named.name)
            connection.send(child.outcome())
        finally:
            child.stop()


def _start(
    recipe: Recipe,
    arm: str,
    seed: int,
    command: Sequence[str],
    place: Path,
    log: Path,
    named: Path,
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
    return _Child(arm, seed, process, told.open(encoding="utf-8"), log, named)


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-10_000:].decode(errors="replace").strip().splitlines()
        return next((line[:300] for line in reversed(lines) if re.search(r"\w", line)), "")
    return ""
