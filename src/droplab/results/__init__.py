"""Rows, the machine they were made on, and the folder that keeps them."""

from __future__ import annotations

from droplab.results._elsewhere import ARM_COLUMN, ELSEWHERE, is_dropout, load_rows
from droplab.results._environment import environment
from droplab.results._load import load
from droplab.results._planned import Choice, choices_note, plan_choices, plan_sentence
from droplab.results._preflight import check_place, preflight
from droplab.results._rows import (
    AnswersRow,
    BatchRow,
    BlockRow,
    EpochRow,
    ExampleRow,
    Member,
    PartRow,
    RunResult,
    State,
    StoppedTestRow,
    TestRow,
)
from droplab.results._scored import scored_at, scored_note
from droplab.results._searched import (
    SEARCH_FILE,
    ProposedPlan,
    SearchRecord,
    Shrinkage,
    load_search,
)
from droplab.results._store import RunStore
from droplab.results._study_store import StudyStore
from droplab.results._whole_file import whole_file

__all__ = [
    "ARM_COLUMN",
    "ELSEWHERE",
    "SEARCH_FILE",
    "AnswersRow",
    "BatchRow",
    "BlockRow",
    "Choice",
    "EpochRow",
    "ExampleRow",
    "Member",
    "PartRow",
    "ProposedPlan",
    "RunResult",
    "RunStore",
    "SearchRecord",
    "Shrinkage",
    "State",
    "StoppedTestRow",
    "StudyStore",
    "TestRow",
    "check_place",
    "choices_note",
    "environment",
    "is_dropout",
    "load",
    "load_rows",
    "load_search",
    "plan_choices",
    "plan_sentence",
    "preflight",
    "scored_at",
    "scored_note",
    "whole_file",
]
