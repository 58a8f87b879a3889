"""DRP014: a dropout module with p = 0 or p = 1."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live._exam import Exam

CODE = "DRP014"


def check(exam: Exam) -> Iterator[Finding]:
    """Find dropout modules of the model whose rate is 0 or 1."""
    for module, name in exam.names.items():
        if not _kinds.is_dropout(module):
            continue
        p = _kinds.rate_of(module)
        kind = type(module).__name__
        if p == 0.0:
            yield exam.finding(
                CODE,
                f"{kind} '{name}' has p = 0 and does nothing",
                "remove it, or give it a rate",
                module=module,
                evidence={"p": p},
            )
        elif p == 1.0:
            yield exam.finding(
                CODE,
                f"{kind} '{name}' has p = 1 and drops everything in training",
                "give the rate that was meant; p is the probability of dropping, not of keeping",
                module=module,
                severity="error",
                evidence={"p": p},
            )
