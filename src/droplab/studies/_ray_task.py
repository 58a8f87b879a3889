"""A task on whatever node of a Ray cluster it is done: what it finds there, and how it tells."""

from __future__ import annotations

import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_OPEN = 100
"""What a task may have told before it waits until that has arrived."""


def versions() -> str:
    return f"droplab {metadata.version('droplab')} and torch {torch.__version__}"


class Place:
    """What a task finds around it.

    Args:
        folder: Working directory of the driver, which is that of the task if it is there.
        path: Where the driver imports from.
        versions: Of droplab and torch.
        files: What the task reads, by name.
        folders: Which folders there are for what it writes.
    """

    def __init__(
        self,
        folder: str,
        path: tuple[str, ...],
        versions: str,
        files: dict[str, bytes],
        folders: tuple[str, ...],
    ) -> None:
        self.folder, self.path, self.versions = folder, path, versions
        self.files, self.folders = files, folders

    def enter(self, folder: Path) -> None:
        """Make it so, with files in `folder`."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        sys.path += [each for each in self.path if each not in sys.path]
        for name in self.folders:
            (folder / name).mkdir(exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class End:
    """Says that a task has told all."""


class Other:
    """Says that a node has other versions than the driver."""

    def __init__(self) -> None:
        self.versions, self.node = versions(), platform.node()


class Teller:
    """Tells the driver what happens to a task, and sends what it has written.

    Calls of one task may overtake each other, so what it tells is numbered.

    Args:
        inbox: The actor of a queue of Ray, from which the driver takes.
        number: Of the task.
        folder: Where it writes.
    """

    def __init__(self, inbox: Any, number: int, folder: Path) -> None:
        self._inbox, self._number, self._folder = inbox, number, folder
        self._given = {path: path.stat().st_mtime_ns for path in self._files()}
        self._open: list[Any] = []
        self._sent = 0

    def _files(self) -> list[Path]:
        return [path for path in sorted(self._folder.rglob("*")) if path.is_file()]

    def send(self, obj: Any, /) -> None:
        """Tell something, with every file that is new in the folder."""
        files: dict[str, bytes] = {}
        for path in self._files():
            changed = path.stat().st_mtime_ns
            if self._given.get(path) == changed:
                continue
            files[str(path.relative_to(self._folder))] = path.read_bytes()
            if path in self._given:
                self._given[path] = changed
            else:
                path.unlink()
        told = pickle.dumps((obj, files))
        self._open.append(self._inbox.put.remote((self._number, self._sent, told)))
        self._sent += 1
        if files or len(self._open) >= _OPEN:
            self.wait()

    def wait(self) -> None:
        """Wait until everything has arrived."""
        import ray

        ray.get(self._open)
        self._open.clear()

    def close(self) -> None:
        """Nothing is to be closed."""


def do(target: Callable[..., None], inbox: Any, number: int, place: Place, *arguments: Any) -> None:
    """Do a task, on whatever node this is."""
    with tempfile.TemporaryDirectory(prefix="droplab-") as name:
        place.enter(Path(name))
        teller = Teller(inbox, number, Path(name))
        if place.versions != versions():
            teller.send(Other())
        else:
            target(teller, Path(name), *arguments)
            teller.send(End())
        teller.wait()
