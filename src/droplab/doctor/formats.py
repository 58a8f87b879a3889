"""How findings are printed: as text for people, JSON, workflow commands of GitHub, and SARIF."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from rich.text import Text

from droplab.doctor._codes import CODES
from droplab.doctor._finding import Finding

FORMATS = ("text", "json", "sarif", "github")

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
_CORNERS = ("startLine", "startColumn", "endLine", "endColumn")
_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


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
            shown = ", ".join(
                f"{name} {_measured(value)}" for name, value in finding.evidence.items()
            )
            lines.append(Text(f"  measured: {shown}"))
        fix = Text("  fix: ", "green").append(finding.advice, "default")
        if finding.edits:
            how = "--fix --unsafe-fixes does it" if finding.unsafe else "--fix does it"
            fix.append(f"  ({how})", "dim")
        lines.append(fix)
    return Text("\n").join(lines)


def _measured(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def json_document(findings: Iterable[Finding], **more: Any) -> str:
    """Return `{"findings": [...], ...}` as text.

    Args:
        findings: What was found.
        **more: Further entries, such as the number of files.

    Example:
        >>> print(json_document([], files=3))
        {
          "findings": [],
          "files": 3
        }
    """
    document = {"findings": [finding.to_dict() for finding in findings], **more}
    return json.dumps(document, indent=2, ensure_ascii=False, default=str)


def github(findings: Iterable[Finding]) -> str:
    """Return one workflow command a finding, a line each; GitHub shows them beside the lines.

    Example:
        >>> print(github([Finding("DRP014", "p is 0", "remove it", path="a.py", line=3, column=9)]))
        ::warning file=a.py,line=3,endLine=3,col=9,title=DRP014::p is 0; remove it
    """
    lines: list[str] = []
    for finding in findings:
        entries = {"file": finding.path}
        if finding.cell:
            # Lines of the file are those of its JSON: the first one stands for the whole.
            entries["line"] = "1"
        elif finding.line:
            entries["line"] = str(finding.line)
            entries["endLine"] = str(max(finding.end_line, finding.line))
            entries["col"] = str(finding.column)
        entries["title"] = finding.code
        where = ",".join(f"{key}={_property(value)}" for key, value in entries.items() if value)
        message = _data(_message(finding))
        lines.append(f"::{_LEVELS[finding.severity]} {where}::{message}")
    return "\n".join(lines)


def _message(finding: Finding) -> str:
    """Return what is wrong and what to do, after the place in a notebook, which has no lines."""
    cell = f"cell {finding.cell}, line {finding.line}: " if finding.cell else ""
    return f"{cell}{finding.message}; {finding.advice}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(findings: Iterable[Finding], *, version: str) -> str:
    """Return a SARIF log with one run as text, the form that code scanning services read.

    Args:
        findings: What was found.
        version: Version of droplab.

    Source: OASIS, Static Analysis Results Interchange Format (SARIF) version 2.1.0.

    Example:
        >>> json.loads(sarif([], version="0.1.0"))["version"]
        '2.1.0'
    """
    rules = list(CODES.values())
    index = {rule.code: at for at, rule in enumerate(rules)}
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "droplab",
                        "version": version,
                        "rules": [
                            {
                                "id": rule.code,
                                "name": rule.name,
                                "shortDescription": {"text": rule.title},
                                "defaultConfiguration": {
                                    "level": rule.severity,
                                    "enabled": rule.provable or not rule.optional,
                                },
                            }
                            for rule in rules
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, index) for finding in findings],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index[finding.code],
        "level": finding.severity,
        "message": {"text": _message(finding)},
    }
    location: dict[str, Any] = {}
    if finding.path:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
        if finding.cell:
            physical["region"] = dict.fromkeys(_CORNERS, 1)
        elif finding.line:
            physical["region"] = {
                "startLine": finding.line,
                "startColumn": max(finding.column, 1),
                "endLine": max(finding.end_line, finding.line),
                "endColumn": max(finding.end_column, 1),
            }
        location["physicalLocation"] = physical
    cell = f"cell {finding.cell}, line {finding.line}" if finding.cell else ""
    logical = finding.module or cell
    if logical:
        location["logicalLocations"] = [{"fullyQualifiedName": logical}]
    if location:
        result["locations"] = [location]
    return result


def _uri(path: str) -> str:
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(pure.as_posix())
