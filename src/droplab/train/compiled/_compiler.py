"""The C compiler of the machine, and what it made before."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import platformdirs

from droplab.results import environment
from droplab.train._step import UnsupportedError

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_PATIENCE = 120.0
"""Seconds for a compiler, which takes one or two."""


def compiler() -> str | None:
    """Return the path of the C compiler: `CC`, or the first of cc, gcc and clang; None if none."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    return next((found for found in map(shutil.which, names) if found), None)


@cache
def load(source: str) -> Callable[..., int]:
    """Return the function `step` of a C source, compiled unless it was before."""
    path = compiler()
    if path is None:
        raise UnsupportedError("no C compiler was found: expected cc, gcc or clang, or one in CC")
    about = "\n".join([source, path, *_FLAGS, platform.platform(), environment()["cpu"]])
    name = f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.so"
    try:
        folder = platformdirs.user_cache_path("droplab", ensure_exists=True) / "compiled"
        folder.mkdir(exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="droplab-"))
    file = folder / name
    try:
        if not file.exists():
            _compile(path, source, file)
        step = ctypes.CDLL(str(file)).step
    except (OSError, subprocess.TimeoutExpired) as error:  # or a folder that forbids to run it
        raise UnsupportedError(
            f"what {path} makes of the source cannot be used: {error}"
        ) from error
    step.argtypes, step.restype = [ctypes.c_void_p] * 3, ctypes.c_int
    return step


def _compile(path: str, source: str, file: Path) -> None:
    """Compile under a name of our own, so that whoever else does finds all of it or nothing."""
    part = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
    done = subprocess.run(
        [path, *_FLAGS, "-x", "c", "-", "-o", str(part), "-lm"],
        input=source,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=_PATIENCE,
    )
    if done.returncode:
        first = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise UnsupportedError(f"{path} refuses the source: {first}")
    part.replace(file)
