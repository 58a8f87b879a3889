"""Which files a list of paths stands for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from droplab.doctor._settings import Settings
from droplab.errors import ArgumentError, quote

_SUFFIXES = (".py", ".pyi", ".pyw", ".ipynb")
_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "venv", "build", "dist", "site-packages", "__pypackages__"}
)


def files(paths: Iterable[str | Path], settings: Settings) -> Iterator[Path]:
    """Yield the Python files and notebooks that the paths name or hold, each once, in order.

    Folders are searched without following links; hidden folders, environments and build outputs
    are passed over unless they are named themselves.

    Raises:
        ArgumentError: A path does not exist, or is a file of another kind.
    """
    seen: set[str] = set()
    for given in paths:
        path = Path(given)
        if path.is_dir():
            found = _walk(path, settings)
        elif _is_ordinary(path):
            if path.suffix not in _SUFFIXES:
                came = path.suffix or path.name
                raise ArgumentError(
                    f"{path}: expected a folder, a .py file or a notebook, got {quote(came)}; "
                    "name the folder to check the Python files in it"
                )
            found = iter([path])
        elif path.exists():
            raise ArgumentError(f"{path}: expected a folder or a file, got something else")
        else:
            raise ArgumentError(f"{path}: no such file or folder")
        for file in found:
            key = os.path.realpath(file)
            if key not in seen:
                seen.add(key)
                yield file


def _walk(folder: Path, settings: Settings) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not (place / name / "pyvenv.cfg").is_file()
            and not settings.excludes(place / name)
        )
        for name in sorted(names):
            path = place / name
            if path.suffix in _SUFFIXES and not settings.excludes(path) and _is_ordinary(path):
                yield path


def _is_ordinary(path: Path) -> bool:
    """Whether a path is a file or a dead link: a pipe, a socket or a device would be waited for."""
    return path.is_file() or (path.is_symlink() and not path.exists())
