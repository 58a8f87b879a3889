"""The cache: verified files, written whole or not at all, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from droplab.data._progress import Progress
from droplab.data._sources import KnownFile, Source, SourceError
from droplab.errors import DataError

LOCK_SECONDS = 1200.0


def cache_folder() -> Path:
    """Return the folder of cached data: DROPLAB_DATA if it is set, else the platform's place."""
    given = os.environ.get("DROPLAB_DATA")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("droplab") / "data"


@dataclass(frozen=True)
class Obtained:
    """Verified files and where they came from.

    Args:
        contents: File name -> bytes. What was verified is what is handed out, byte for byte.
        source: One line for people.
    """

    contents: Mapping[str, np.ndarray]
    source: str


def obtain(
    name: str,
    files: Sequence[KnownFile],
    sources: Sequence[Source],
    folder: Path,
    progress: Progress,
) -> Obtained:
    """Return the files of a data set, from its cache folder or the first source that has them.

    Args:
        name: Of the data set, for messages.
        files: What is needed.
        sources: Where to look, in this order, for what is not in the cache.
        folder: The data set's own folder in the cache; made if needed.
        progress: Told how far it is.

    Raises:
        DataError: If a folder cannot be written, or every source fails: it lists all of them.
    """
    contents, why = _cached(folder, files)
    if not why:
        return Obtained(contents, f"the cache {folder}")
    tried = [f"the cache {folder}: {why}"]
    with _locked(name, folder):
        # Another process may have fetched them while this one waited for the lock.
        contents, why = _cached(folder, files)
        if not why:
            return Obtained(contents, f"the cache {folder}")
        for source in sources:
            missing = [file for file in files if file.name not in contents]
            with _staging(name, folder) as staging:
                try:
                    source.fetch(missing, staging, progress)
                    failure = ""
                except SourceError as error:
                    failure = str(error)
                except OSError as error:
                    failure = f"cannot write what it gave: {error.strerror or error}"
                got, wrong = _cached(staging, missing)
                for file_name in got:
                    (staging / file_name).replace(folder / file_name)
                contents = {**contents, **got}
            if len(contents) == len(files):
                return Obtained(contents, f"{source.label}, now in the cache {folder}")
            tried.append(f"{source.label}: {failure or wrong}")
    raise DataError(
        f"data: expected {name} from one of its sources, and all of them failed\n"
        + "\n".join(f"  {line}" for line in tried)
        + "\nUse the data set 'digits', which comes with droplab and needs no network, or put the "
        f"files into {folder}: {', '.join(file.name for file in files)}"
    )


def missing_files(files: Sequence[KnownFile], folder: Path) -> str:
    """Return "" if all files are in the cache and verified, else what is wrong."""
    return _cached(folder, files)[1]


def _cached(folder: Path, files: Sequence[KnownFile]) -> tuple[Mapping[str, np.ndarray], str]:
    contents: dict[str, np.ndarray] = {}
    problems: list[str] = []
    absent = 0
    for file in files:
        try:
            content = np.fromfile(folder / file.name, np.uint8)
        except FileNotFoundError:
            problems.append(f"{file.name} is not there")
            absent += 1
            continue
        except OSError as error:
            problems.append(f"{file.name}: {error.strerror}")
            continue
        if hashlib.sha256(content.data).hexdigest() == file.sha256:
            contents[file.name] = content
        else:
            problems.append(f"{file.name} is truncated or changed (its checksum is wrong)")
    if absent == len(files):
        return contents, "its files are not there"
    return contents, "; ".join(problems)


@contextmanager
def _locked(name: str, folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise DataError(
            f"data: another process has been fetching {name} into {folder} for "
            f"{LOCK_SECONDS / 60:g} minutes; wait for it, or end it"
        ) from None
    except OSError as error:
        raise _unwritable(name, folder, error) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(name: str, folder: Path) -> Iterator[Path]:
    """Yield a fresh folder beside the files, for what is not verified yet.

    Only the holder of the lock comes here, so what an interrupted process left can be removed.
    """
    for left in folder.glob(".fetching-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        made = tempfile.mkdtemp(dir=folder, prefix=".fetching-")
    except OSError as error:
        raise _unwritable(name, folder, error) from None
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _unwritable(name: str, folder: Path, error: OSError) -> DataError:
    return DataError(
        f"data: cannot write {name} to the cache folder {folder}: {error.strerror or error}; set "
        "DROPLAB_DATA to a folder that you can write to"
    )
