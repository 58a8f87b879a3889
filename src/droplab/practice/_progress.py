"""What the reader has answered, kept from one visit to the next."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import platformdirs
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from droplab.practice._result import Result

VARIABLE = "DROPLAB_PROGRESS"


@dataclass(frozen=True)
class Record:
    """What is kept about one exercise.

    Args:
        tries: How often it was answered.
        right: How often the answer was right.
        answer: The newest answer, such as "B".
        correct: Whether that was right.
        when: Its time, in UTC.
    """

    tries: int
    right: int
    answer: str
    correct: bool
    when: str


@dataclass(frozen=True)
class _File:
    format: Literal[1]
    exercises: dict[str, Record]


class _DamagedError(Exception):
    """The file is there and is not what it should be; the message says why."""


class Progress:
    """The reader's answers, in a small JSON file of the user.

    A file that cannot be read or written stops nobody from practising: what is wrong is in
    `warning`, and what could not be kept in the file is kept in the object. A damaged file is
    moved aside, not overwritten, as soon as there is something to write.

    Args:
        path: The file; by default that of the variable DROPLAB_PROGRESS, or `practice.json` in
            the platform's folder for the data of users.

    Example:
        >>> progress = Progress(tmp := Path(tempfile.mkdtemp()) / "practice.json")
        >>> dict(progress.records), progress.warning
        ({}, '')
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = progress_file() if path is None else Path(path)
        self.warning = ""
        self._records: dict[str, Record] = {}
        try:
            self._records = _read(self.path)
        except _DamagedError as error:
            self.warning = (
                f"{self.path}: the progress file is damaged ({error}); your next answer begins a "
                "new one, and the damaged one is kept beside it"
            )
        except OSError as error:
            self.warning = (
                f"{self.path}: the progress file cannot be read ({_reason(error)}); "
                f"make it readable, or name another file with {VARIABLE}"
            )

    @property
    def records(self) -> Mapping[str, Record]:
        """What is known, by the exercise's name."""
        return dict(self._records)

    @property
    def solved(self) -> frozenset[str]:
        """The names of the exercises that were answered rightly at least once."""
        return frozenset(name for name, record in self._records.items() if record.right)

    def add(self, result: Result) -> None:
        """Keep an answer; one that the run could not judge is not counted.

        If it cannot be written, `warning` says so.
        """
        if result.correct is None:
            return
        self.warning = ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=10):
                # Another visit, in another window, may have written since.
                records = _counted({**self._records, **self._read_or_move()}, result)
                _write(self.path, records)
        except (OSError, Timeout) as error:
            records = _counted(self._records, result)
            self.warning = (
                f"{self.path}: your progress cannot be kept ({_reason(error)}); make the file and "
                f"its folder writable, or name another file with {VARIABLE}"
            )
        self._records = records

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return {
            "file": str(self.path),
            "warning": self.warning or None,
            "exercises": {name: asdict(record) for name, record in self._records.items()},
        }

    def _read_or_move(self) -> dict[str, Record]:
        """Return what the file holds; if it is damaged, move it aside and return nothing."""
        try:
            return _read(self.path)
        except _DamagedError:
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
                number += 1
            self.path.rename(aside)
            return {}


def progress_file() -> Path:
    """Return the file that is used unless another is named."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser()
    return platformdirs.user_data_path("droplab") / "practice.json"


def _read(path: Path) -> dict[str, Record]:
    try:
        return TypeAdapter(_File).validate_json(path.read_bytes(), strict=True).exercises
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _DamagedError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _write(path: Path, records: Mapping[str, Record]) -> None:
    """Write the file whole or not at all."""
    document = asdict(_File(1, dict(records)))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _counted(records: Mapping[str, Record], result: Result) -> dict[str, Record]:
    """Return the records with one more answer."""
    name = result.exercise.name
    old = records.get(name)
    correct = bool(result.correct)
    record = Record(
        tries=(old.tries if old else 0) + 1,
        right=(old.right if old else 0) + correct,
        answer="".join(result.answer),
        correct=correct,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return {**records, name: record}


def _reason(error: OSError | Timeout) -> str:
    return getattr(error, "strerror", None) or str(error)
