"""Whose code is running: torch's, a library's, or the user's."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from droplab.importing import is_installed

_EXAM = "droplab.doctor.live._exam"
_NOWHERE = ("", 0)


def caller() -> tuple[str, int]:
    """Return file and line of the innermost frame that is neither torch nor the doctor."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != "torch" and not name.startswith(("torch.", "droplab.doctor.", "droplab.nn")):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return _NOWHERE


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's own files, or None.

    Files of torch, of droplab and of installed libraries are not the user's. What calls an exam is
    no part of the model, so the search ends there.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == _EXAM:
            return None
        if name.partition(".")[0] not in ("torch", "droplab") and _is_own(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None


def user_line() -> tuple[str, int]:
    """Return file and line of the innermost frame of the user's own files, or ("", 0)."""
    frame = user_frame()
    return _NOWHERE if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def variable(value: object, frame: FrameType | None) -> str:
    """Return by which name a frame has an object: a variable or an attribute of self, or ""."""
    if frame is None:
        return ""
    found: dict[str, Any] = dict(frame.f_locals)
    me = getattr(found.get("self"), "__dict__", {})
    for owner in (me, me.get("_modules", {})):
        found.update({f"self.{name}": item for name, item in owner.items()})
    found.update({name: item for name, item in frame.f_globals.items() if name not in found})
    return next((name for name, item in found.items() if item is value), "")


def _is_own(file: str) -> bool:
    """Whether a file is neither of Python nor of an installed library."""
    return not file.startswith("<") and not is_installed(file)
