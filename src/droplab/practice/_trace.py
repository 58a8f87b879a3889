"""What the worker told of an option, and the same in words."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class Trace:
    """How far an option came, and how it ended.

    Args:
        status: The exit status of its process, negative for a signal; None if it was not done in
            time.
    """

    stage: str = "start"
    printed: dict[str, str] = field(default_factory=dict[str, str])
    raised: str = ""
    holds: bool | None = None
    saw: str = ""
    torch: str = ""
    status: int | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """Take in what the worker told; longer texts come in pieces."""
        for key, value in message.items():
            if key == "printed":
                self.printed[self.stage] = self.printed.get(self.stage, "") + value
            elif key in ("raised", "saw"):
                setattr(self, key, getattr(self, key) + value)
            elif key != "status" or self.status is None:  # its own end comes before the snippet's
                setattr(self, key, value)

    def judge(self, exercise: Exercise, index: int) -> Outcome:
        """Return what happened to an option."""
        state: State = "ran"
        if self.status is None:
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
