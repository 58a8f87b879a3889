"""The C compiler of the machine, and what it made before."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import platformdirs

from droplab.errors import DroplabError
from droplab.results import environment

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


class UnsupportedError(DroplabError):
    """A step cannot be compiled: there is no compiler, or an operation is not known to it."""


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
    if not file.exists():
        part = folder / f"{name}.{os.getpid()}"
        done = subprocess.run(
            [path, *_FLAGS, "-x", "c", "-", "-o", str(part), "-lm"],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            first = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
            raise UnsupportedError(f"{path} refuses the source: {first}")
        part.replace(file)
    step = ctypes.CDLL(str(file)).step
    step.argtypes, step.restype = [ctypes.c_void_p] * 3, ctypes.c_int
    return step
