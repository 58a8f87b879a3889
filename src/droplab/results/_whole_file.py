"""Files that appear whole or not at all, and the temporary names under which they are written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from droplab.errors import RunError

_PREFIX = ".droplab-"
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give the block a temporary name to write to; what it wrote then takes the name `path`.

    The temporary file lies in a folder of its own beside `path`, so whatever a library leaves
    there when it is killed is known to be ours. The file is synchronised before it is renamed and
    its folder after: a name that exists has its content, also after a power cut.

    Args:
        path: Where the file goes; its folder is not made.

    Raises:
        RunError: If it cannot be written. What was at `path` before is then still there.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
        try:
            part = place / path.name
            yield part
            _sync(part)
            part.replace(path)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if os.name == "posix":
            _sync(path.parent)
    except OSError as error:
        raise RunError(f"{path}: {_explain(error, path)}") from error


def remove_temporary(folder: Path) -> None:
    """Remove what `whole_file` left in `folder` when its process was killed, and nothing else."""
    for found in folder.iterdir():
        if _TEMPORARY.fullmatch(found.name) and found.is_dir() and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=True)


def _sync(path: Path) -> None:
    # a file has to be open for writing on Windows; a folder cannot be anywhere
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain(error: OSError, path: Path) -> str:
    if error.errno in _FULL:
        return "the disk is full; free some space and resume, confirmed rows are safe"
    if not path.parent.is_dir():
        return (
            "the folder is gone, it was removed while the run was written; begin the run anew, "
            "or put the folder back and resume"
        )
    return (
        f"cannot be written ({error.strerror or error}); check the disk and the folder's "
        "permissions, then resume, confirmed rows are safe"
    )
