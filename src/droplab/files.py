"""Files from outside: ordinary ones, that fit into memory."""

from __future__ import annotations

from pathlib import Path

import psutil

from droplab.errors import DataError


def check_ordinary(path: Path) -> None:
    """Refuse a pipe or a device, which would be waited for, or read without an end.

    Raises:
        DataError: If `path` is no ordinary file.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: expected an ordinary file, got a folder, a pipe or a device")


def fits(nbytes: int) -> bool:
    """Return whether `nbytes` are at most half of the memory that is free."""
    return nbytes <= psutil.virtual_memory().available // 2


def check_fits(size: int, *, where: str) -> None:
    """Refuse what is read whole and would not leave half of the free memory free.

    Raises:
        DataError: If `size`, in bytes, is more.
    """
    if not fits(size):
        raise DataError(
            f"{where}: its {size} bytes do not fit into half of the memory that is free; save .npy "
            "files to stream"
        )
