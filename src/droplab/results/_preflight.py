"""The look at the disk that comes before any training."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from droplab.errors import RunError
from droplab.results._create import check_free

NETWORK = frozenset({"nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "fuse.sshfs"})


def preflight(folder: str | os.PathLike[str], needed_bytes: int = 0) -> Path:
    """Make `folder` and make sure that a run can be written to it.

    Args:
        folder: Where the run will be kept; made with its parents when missing.
        needed_bytes: What the run will write: rows, weights and checkpoints.

    Returns:
        The folder, absolute.

    Raises:
        RunError: The folder cannot be made or written to, is on a network file system (where
            neither locks nor SQLite's journal can be trusted), or its disk has too little space.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     preflight(place, needed_bytes=1000).is_dir()
        True
    """
    path = Path(folder).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written to ({error.strerror or error}); "
            "choose another folder with --out"
        ) from error
    kind = _file_system(path)
    if kind in NETWORK:
        raise RunError(
            f"{path}: is on a network file system ({kind}), where a run cannot be kept safely; "
            "choose a local folder with --out and copy the run when it is done"
        )
    free = shutil.disk_usage(path).free
    if free < needed_bytes:
        raise RunError(
            f"{path}: the run needs about {_size(needed_bytes)}, the disk has {_size(free)} free; "
            "free some space or choose another folder with --out"
        )
    return path


def check_place(folder: str | os.PathLike[str]) -> None:
    """Refuse a place where no run can be begun, and leave nothing there.

    Args:
        folder: Where a run shall be kept, when what comes before it has gone well.

    Raises:
        RunError: As `preflight`, or the folder holds a run.
    """
    path = Path(folder).expanduser().absolute()
    made = not os.path.exists(path)  # noqa: PTH110 # Path.exists may raise
    preflight(path)
    check_free(path)
    if made:
        with contextlib.suppress(OSError):  # somebody else may have begun there
            path.rmdir()


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, "" when it is not known."""
    target = path.resolve()
    best, kind = -1, ""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return ""
    for mount in mounts:
        depth = len(Path(mount.mountpoint).parts)
        if depth >= best and target.is_relative_to(mount.mountpoint):
            best, kind = depth, mount.fstype.lower()
    return kind


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
