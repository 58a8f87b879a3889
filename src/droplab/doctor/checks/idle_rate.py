"""DRP014: p = 0 or p = 1 left in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._finding import Code, Finding, Severity
from droplab.doctor._module import Module
from droplab.doctor.checks.impossible_rate import rates

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP014", "idle-rate", "p = 0 or p = 1 was left behind", "note")


def reading(module: Module) -> Iterator[Finding]:
    """Find dropout layers and calls whose literal rate is 0 or 1."""
    for call, name, rate in rates(module):
        if name not in _names.MODULES and name not in _names.FUNCTIONS:
            continue
        value = _names.number(rate)
        if value not in (0.0, 1.0) or _in_test(module, call):
            continue
        short = name.rpartition(".")[2]
        severity: Severity
        if value == 0.0:
            message, advice = f"{short} with p = 0 does nothing", "remove it, or give it a rate"
            severity = "note"
        else:
            message = f"{short} with p = 1 drops everything in training"
            advice = "give the rate that was meant; p is the probability of dropping, not keeping"
            severity = "error"
        yield module.finding(CODE, rate, message, advice, severity=severity)


def _in_test(module: Module, call: ast.Call) -> bool:
    """Whether a test looks at the edge, or p = 0 is put in place of another rate on purpose."""
    parent = module.parents.get(call)
    if isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "setattr":
        return True
    function = module.function(call)
    return function is not None and function.name.startswith("test")


def running(exam: Exam) -> Iterator[Finding]:
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
