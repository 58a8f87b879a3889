"""Exercises whose answers are executed.

Nothing in here knows which option of an exercise is right: every option is run, and the run
decides. The room has no terminal code and does not import torch; the snippets do, in a process
of their own.
"""

from __future__ import annotations

from droplab.practice._exercise import LEVELS, Claim, Code, Exercise
from droplab.practice._lookup import exercises, find, topics
from droplab.practice._progress import Progress, Record
from droplab.practice._result import Outcome, Result
from droplab.practice._runner import Runner, run

__all__ = [
    "LEVELS",
    "Claim",
    "Code",
    "Exercise",
    "Outcome",
    "Progress",
    "Record",
    "Result",
    "Runner",
    "exercises",
    "find",
    "run",
    "topics",
]
