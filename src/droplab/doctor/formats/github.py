"""Findings as workflow commands, which GitHub shows beside the changed lines."""

from __future__ import annotations

from collections.abc import Iterable

from droplab.doctor._finding import Finding

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def github(findings: Iterable[Finding]) -> str:
    """Return one workflow command a finding, a line each.

    Example:
        >>> print(github([Finding("DRP014", "p is 0", "remove it", path="a.py", line=3, column=9)]))
        ::warning file=a.py,line=3,endLine=3,col=9,title=DRP014::p is 0; remove it
    """
    lines: list[str] = []
    for finding in findings:
        entries = {"file": finding.path}
        if finding.line:
            entries["line"] = str(finding.line)
            entries["endLine"] = str(max(finding.end_line, finding.line))
            entries["col"] = str(finding.column)
        entries["title"] = finding.code
        where = ",".join(f"{key}={_property(value)}" for key, value in entries.items() if value)
        cell = f"cell {finding.cell}: " if finding.cell else ""
        message = _data(f"{cell}{finding.message}; {finding.advice}")
        lines.append(f"::{_LEVELS[finding.severity]} {where}::{message}")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
