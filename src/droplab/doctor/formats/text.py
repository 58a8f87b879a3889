"""Findings as text for people: place, reason, the line, the fix."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from droplab.doctor._codes import CODES
from droplab.doctor._finding import Finding

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def text(findings: Iterable[Finding]) -> Text:
    """Return findings as one text with colours, to be printed with soft wrapping.

    Example:
        >>> finding = Finding("DRP014", "p is 0", "remove it", path="net.py", line=3, column=9)
        >>> print(text([finding]))
        net.py:3:9: DRP014 [idle-rate] p is 0
          fix: remove it
    """
    lines: list[Text] = []
    for finding in findings:
        place = finding.place
        if finding.module and finding.line:
            place += f" ({finding.module})"
        head = Text(place, "bold").append(": ", "default")
        head.append(finding.code, _COLOURS[finding.severity])
        lines.append(head.append(f" [{CODES[finding.code].name}] ").append(finding.message))
        if finding.source:
            lines.append(Text(f"    {finding.source}", "dim"))
        if finding.found_by != "reading" and finding.evidence:
            shown = ", ".join(f"{name} {_value(value)}" for name, value in finding.evidence.items())
            lines.append(Text(f"  measured: {shown}"))
        fix = Text("  fix: ", "green").append(finding.advice, "default")
        lines.append(fix.append("  (--fix does it)", "dim") if finding.fixable else fix)
    return Text("\n").join(lines)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
