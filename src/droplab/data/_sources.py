"""Where the files of a named data set can come from. Each source is tried in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from droplab.data._idx import unpacked
from droplab.data._progress import Progress
from droplab.errors import DataError


class SourceError(Exception):
    """A source cannot give the files; the message says why, in a few words."""


@dataclass(frozen=True)
class KnownFile:
    """One file of a data set.

    Args:
        name: Its usual name, without ".gz".
        sha256: Of its content, unpacked: the same whoever compressed it.
        md5_gz: Of the .gz file that its publisher offers, as published.
    """

    name: str
    sha256: str
    md5_gz: str = ""


class Source(Protocol):
    """One place that may have the files."""

    @property
    def label(self) -> str:
        """What messages call it."""
        ...

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        """Put `files`, unpacked, into the folder `into`; what comes is verified by the caller.

        Raises:
            SourceError: If it cannot. What it has put there by then is kept if it verifies.
        """
        ...


@dataclass(frozen=True)
class LocalFolder:
    """A folder that may hold the files, gzipped or not."""

    folder: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"the folder {self.folder}"

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        """Unpack the files from the folder."""
        folder = Path(self.folder)
        if not folder.is_dir():
            raise SourceError("there is no such folder")
        for i, file in enumerate(files):
            progress(f"fetching {self.label}", i, len(files))
            unpack_one(folder, file, into)


def unpack_one(folder: Path, file: KnownFile, into: Path) -> None:
    """Copy one file from `folder` to `into`, without its gzip wrapping if it has one.

    Raises:
        SourceError: If it is not there or cannot be read.
    """
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        try:
            if path.is_file():
                content = unpacked(path.read_bytes(), where=path.name)
                (into / file.name).write_bytes(content)
                return
        except DataError as error:
            raise SourceError(str(error)) from None
        except OSError as error:
            raise SourceError(f"{path.name}: {error.strerror}") from None
    raise SourceError(f"{file.name} is missing in it")


def by_name(files: Sequence[KnownFile]) -> Mapping[str, KnownFile]:
    """Return the files by their name, with and without ".gz"."""
    return {f"{file.name}{end}": file for file in files for end in ("", ".gz")}
