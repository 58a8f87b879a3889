"""How a trial of somebody's own loop ended."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from droplab.errors import DroplabError, bounded
from droplab.importing import is_installed
from droplab.results import State

_OWN = Path(__file__).parents[1]
"""The folder of this package: a user's may be called droplab, too."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Args:
        state: "done", "nan" or "failed".
        message: Why it failed, or what was not finite.
        seen: What was seen of it, as JSON can hold it.
        killed: Whether its process was killed, so that it may go on from what it has kept.
        hopeless: Whether every other trial of the study would fail for the same reason.
    """

    state: State
    message: str = ""
    seen: dict[str, Any] = field(default_factory=dict[str, Any])
    killed: bool = False
    hopeless: bool = False


def reason(error: BaseException) -> str:
    """Return why a trial failed: the error, and the line of somebody's own file where it arose.

    In one line, for a table: torch writes some of its errors over many, and in bold.
    """
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, DroplabError):
        text = str(error)
    text = bounded(" ".join(_COLOURS.sub("", text).split()))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_OWN) and not is_installed(frame.filename)
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
