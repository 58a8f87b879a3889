"""A finding: one place where dropout is used wrongly, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""error: the code does not do what it says; warning: it does, with harm; note: it is idle."""

FoundBy = Literal["reading", "running", "watching"]
"""reading the source; running the model on a batch; watching a training loop."""


@dataclass(frozen=True, slots=True)
class Code:
    """The row of a check; it stands beside the check, in `checks`, and is collected from there.

    Args:
        code: "DRP" and three digits.
        name: A short name with hyphens.
        title: What is wrong, in a few words.
        severity: How bad it is, unless a finding says otherwise.
        found_by: The ways in which it is found, filled in from what its file has.
        optional: Whether reading reports it only where it is selected: what reading can know
            of it was too often wrong in other people's code.
        provable: Whether an optional one is reported by default as well where the evidence is
            complete, as a finding then says.
    """

    code: str
    name: str
    title: str
    severity: Severity
    found_by: tuple[FoundBy, ...] = ("reading",)
    optional: bool = False
    provable: bool = False

    @property
    def marks(self) -> str:
        """What the list of checks says of it, such as "error" or "error, optional"."""
        part = " in part" if self.provable else ""
        return f"{self.severity}{f', optional{part}' if self.optional else ''}"

    @property
    def page(self) -> str:
        """Path of its page in the documentation."""
        return f"docs/checks/{self.code}.md"

    @property
    def explanation(self) -> str:
        """The text of its page: what is wrong, why, an example and its fix."""
        package = Path(__file__).parent
        for place in (package / "pages", package.parents[2] / "docs" / "checks"):
            file = place / f"{self.code}.md"
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return f"{self.code} {self.name}: {self.title} ({self.marks})"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters `start` to `end` of a text by `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where dropout is used wrongly.

    A finding from reading points at a line of a file. A finding from running or watching points
    at a module of the model (`module`) and, where the call could be traced, at a line too.

    Args:
        code: The check that found it, such as "DRP001".
        message: The reason, in one sentence.
        advice: What to do, in one sentence.
        severity: "error", "warning" or "note".
        path: The file, as it was given; empty if no file is known.
        line: Line, from 1; 0 if no line is known. In a notebook it counts within the cell.
        column: Column, from 1, in characters.
        end_line: Last line of the expression.
        end_column: Column after the last character.
        source: The text of the line.
        cell: Number of the notebook cell, from 1; 0 outside notebooks.
        module: Dotted path of the module inside the model, or "".
        found_by: "reading", "running" or "watching".
        evidence: What was measured, by name; empty for a finding from reading.
        edits: The fix as edits of the whole text; empty if there is none.
        unsafe: Whether the fix changes the numbers of a training that ran before it. A safe one
            mends eval mode, what raised an error, or an argument that did nothing.
        complete: Whether all that it rests on was read. Of an optional check only such findings are
            reported, unless it is selected.

    Example:
        >>> Finding("DRP014", "p is 0", "remove it", path="net.py", line=3, column=9).place
        'net.py:3:9'
    """

    code: str
    message: str
    advice: str
    severity: Severity = "warning"
    path: str = ""
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    source: str = ""
    cell: int = 0
    module: str = ""
    found_by: FoundBy = "reading"
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    edits: tuple[Edit, ...] = ()
    unsafe: bool = False
    complete: bool = False

    @property
    def place(self) -> str:
        """Where it is, as `file:line:column` (`file:cell N:line:column`) or the module's path."""
        if not self.line:
            return self.path or self.module or "model"
        cell = f"cell {self.cell}:" if self.cell else ""
        return f"{self.path}:{cell}{self.line}:{self.column}"

    @property
    def fixable(self) -> bool:
        """Whether `--fix` mends it; what is unsafe takes `--unsafe-fixes` as well."""
        return bool(self.edits) and not self.unsafe

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain data, the form that `--format json` prints."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "advice": self.advice,
            "path": self.path,
            "cell": self.cell or None,
            "line": self.line or None,
            "column": self.column or None,
            "end_line": self.end_line or None,
            "end_column": self.end_column or None,
            "source": self.source,
            "module": self.module or None,
            "found_by": self.found_by,
            "fixable": self.fixable,
            "fixable_unsafely": bool(self.edits) and self.unsafe,
            "evidence": dict(self.evidence),
        }
