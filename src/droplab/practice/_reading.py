"""Reads what the worker told about a process, and puts it into words."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import dataclass, field
from typing import Any, TypedDict

from droplab.practice._exercise import Exercise
from droplab.practice._result import Outcome, State

PARTS = {
    "start": "the process that was to run it",
    "snippet": "the snippet",
    "option": "it",
    "then": "it",
    "check": "the check",
}
OWN = ("option", "then")
"""The stages whose end is the option's own doing."""


LATE = (None, -getattr(signal, "SIGALRM", 0) or None)
"""The exit statuses of a process that was ended for being late."""


class Raw(TypedDict):
    """What is known about a process that has ended.

    Args:
        text: What it wrote to its channel.
        status: Its exit status, negative for a signal; None if it was killed for being late.
    """

    text: str
    status: int | None


@dataclass
class Trace:
    """How far a process came, and how it ended."""

    stage: str = "start"
    printed: dict[str, str] = field(default_factory=dict[str, str])
    raised: str = ""
    holds: bool | None = None
    saw: str = ""
    torch: str = ""
    options: list[Raw] | None = None
    late: bool = False
    status: int = 0

    def read(self, raw: Raw) -> Trace:
        """Take in the messages of a process that has ended."""
        for line in raw["text"].splitlines():
            message: Any = None
            with contextlib.suppress(ValueError):
                message = json.loads(line)
            if isinstance(message, dict):
                self._take(message)
        self.late = raw["status"] in LATE
        self.status = raw["status"] or 0
        return self

    def _take(self, message: dict[str, Any]) -> None:
        for key, value in message.items():
            if key == "printed":
                self.printed[self.stage] = self.printed.get(self.stage, "") + value
            else:
                setattr(self, key, value)

    def judge(self, exercise: Exercise, index: int) -> Outcome:
        """Return what happened to an option."""
        state: State = "ran"
        if self.late:
            state = "hung"
            happened = f"{PARTS[self.stage]} was stopped: not done after {exercise.seconds:g} s"
        elif self.raised:
            state = "raised"
            happened = self.raised if self.stage in OWN else f"{PARTS[self.stage]}: {self.raised}"
        elif self.holds is None:
            state = "crashed"
            happened = f"{PARTS[self.stage]} {_ending(self.status)}"
        else:
            happened = self.saw
        holds = self.holds
        if state != "ran":
            # An option that is code and fails has been refuted; a check that fails shows nothing.
            holds = False if self.stage in OWN else None
        return Outcome(
            letter=exercise.letters[index],
            text=exercise.options[index].text,
            holds=holds,
            state=state,
            happened=happened,
            printed="".join(self.printed.get(stage, "") for stage in OWN),
        )


def _ending(status: int) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"crashed the process ({name})"
    return f"ended the process (exit status {status})"
