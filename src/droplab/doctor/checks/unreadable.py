"""DRP000: a file that is no Python; no other check can read it."""

from __future__ import annotations

from droplab.doctor._finding import Code, Finding

CODE = Code("DRP000", "unreadable", "the file cannot be read as Python", "error")


def unreadable(path: str, reason: str, line: int = 1) -> Finding:
    """Return the finding for a file that cannot be opened, decoded or parsed."""
    return Finding(
        CODE.code,
        reason,
        "mend the file, or exclude it",
        CODE.severity,
        path=path,
        line=line,
        column=1,
        end_line=line,
        end_column=1,
    )
