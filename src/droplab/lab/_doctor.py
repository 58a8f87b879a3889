"""The doctor: pasted source is read, never run."""

from __future__ import annotations

import threading
from typing import Any

from droplab.doctor import CODES, Finding, check_text
from droplab.lab._body import Body
from droplab.lab._limits import Refusal

WHY = {
    "error": "The code does not do what it says.",
    "warning": "The code does what it says, and it does harm.",
    "note": "It changes nothing, or is easily misread.",
}

_one_at_a_time = threading.Lock()


class Source(Body):
    """Source to be checked."""

    text: str


def examine(text: str) -> dict[str, Any]:
    """Return what is wrong with the dropout in a piece of source.

    Raises:
        Refusal: It cannot be read at all.
    """
    try:
        with _one_at_a_time:
            found = check_text(text, path="pasted")
    except (RecursionError, MemoryError):
        raise Refusal(400, "text: it is nested too deeply to be read") from None
    return {"findings": [_view(finding) for finding in found], "checked": _checked(text, found)}


def _view(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "title": CODES[finding.code].title,
        "severity": finding.severity,
        "line": finding.line,
        "column": finding.column,
        "end_line": finding.end_line,
        "end_column": finding.end_column,
        "source": finding.source,
        "message": finding.message,
        "why": WHY[finding.severity],
        "fix": finding.advice,
    }


def _checked(text: str, found: list[Finding]) -> str:
    count = len(text.splitlines())
    lines = "1 line" if count == 1 else f"{count} lines"
    if not found:
        return f"{lines} read, not run: nothing found."
    noun = "finding" if len(found) == 1 else "findings"
    return f"{lines} read, not run: {len(found)} {noun}."
