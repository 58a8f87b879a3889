"""Paired statistics, and the rules that turn them into words."""

from __future__ import annotations

from droplab.verdict._choose import choose
from droplab.verdict._folds import compare_folds
from droplab.verdict._judge import duration, judge
from droplab.verdict._method import units_text
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import as_placed, validated_on
from droplab.verdict._pool import pool
from droplab.verdict._signflip import Comparison, compare, smallest_p
from droplab.verdict._skewed import compare_skewed
from droplab.verdict._table import Table
from droplab.verdict._target import condition_text, reached_text
from droplab.verdict._types import (
    TONES,
    ArmVerdict,
    Best,
    ConditionVerdict,
    Cost,
    Diagnosis,
    Difference,
    Summary,
    TargetVerdict,
    TestVerdict,
    Verdict,
    Word,
)

__all__ = [
    "TONES",
    "ArmVerdict",
    "Best",
    "Comparison",
    "ConditionVerdict",
    "Cost",
    "Diagnosis",
    "Difference",
    "RunMetrics",
    "Summary",
    "Table",
    "TargetVerdict",
    "TestVerdict",
    "Verdict",
    "Word",
    "WrittenMetric",
    "as_placed",
    "choose",
    "compare",
    "compare_folds",
    "compare_skewed",
    "condition_text",
    "duration",
    "judge",
    "pool",
    "reached_text",
    "smallest_p",
    "units_text",
    "validated_on",
]
