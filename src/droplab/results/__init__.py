"""Rows, the machine they were made on, and the folder that keeps them."""

from __future__ import annotations

from droplab.results._environment import environment
from droplab.results._load import load
from droplab.results._planned import Choice, choices_note, plan_choices, plan_sentence
from droplab.results._preflight import preflight
from droplab.results._rows import (
    BatchRow,
    EpochRow,
    Member,
    RunResult,
    State,
    TestRow,
)
from droplab.results._scored import scored_at, scored_note
from droplab.results._store import RunStore
from droplab.results._whole_file import whole_file

__all__ = [
    "BatchRow",
    "Choice",
    "EpochRow",
    "Member",
    "RunResult",
    "RunStore",
    "State",
    "TestRow",
    "choices_note",
    "environment",
    "load",
    "plan_choices",
    "plan_sentence",
    "preflight",
    "scored_at",
    "scored_note",
    "whole_file",
]
