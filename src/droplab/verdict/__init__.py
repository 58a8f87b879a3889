"""Paired statistics, and the rules that turn them into words."""

from __future__ import annotations

from droplab.verdict._any import judge
from droplab.verdict._choose import choose
from droplab.verdict._control import Control, control
from droplab.verdict._foresight import Foresight, foresee
from droplab.verdict._judge import duration
from droplab.verdict._method import NO_WORD, units_text
from droplab.verdict._metrics import RunMetrics, WrittenMetric, stopped_name
from droplab.verdict._notes import as_placed, validated_on
from droplab.verdict._pool import pool, spent_text
from droplab.verdict._recall import RECALL
from droplab.verdict._signflip import Comparison, compare, fewest
from droplab.verdict._skewed import compare_skewed
from droplab.verdict._table import Table
from droplab.verdict._target import condition_text, reached_text
from droplab.verdict._types import (
    ArmVerdict,
    Best,
    ClassRecall,
    ConditionVerdict,
    Cost,
    Diagnosis,
    Difference,
    Question,
    StoppedArm,
    Summary,
    TargetVerdict,
    TestVerdict,
    Trend,
    Verdict,
    Word,
    tone,
)

__all__ = [
    "NO_WORD",
    "RECALL",
    "ArmVerdict",
    "Best",
    "ClassRecall",
    "Comparison",
    "ConditionVerdict",
    "Control",
    "Cost",
    "Diagnosis",
    "Difference",
    "Foresight",
    "Question",
    "RunMetrics",
    "StoppedArm",
    "Summary",
    "Table",
    "TargetVerdict",
    "TestVerdict",
    "Trend",
    "Verdict",
    "Word",
    "WrittenMetric",
    "as_placed",
    "choose",
    "compare",
    "compare_skewed",
    "condition_text",
    "control",
    "duration",
    "fewest",
    "foresee",
    "judge",
    "pool",
    "reached_text",
    "spent_text",
    "stopped_name",
    "tone",
    "units_text",
    "validated_on",
]
