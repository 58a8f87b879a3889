"""Findings in SARIF 2.1.0, the form that code scanning services read.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) version 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from droplab.doctor._codes import CODES
from droplab.doctor._finding import Finding

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif(findings: Iterable[Finding], *, version: str) -> str:
    """Return a SARIF log with one run as text.

    Args:
        findings: What was found.
        version: Version of droplab.

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
                                "defaultConfiguration": {"level": rule.severity},
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
        "message": {"text": f"{finding.message}; {finding.advice}"},
    }
    location: dict[str, Any] = {}
    if finding.path:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
        if finding.line:
            physical["region"] = {
                "startLine": finding.line,
                "startColumn": max(finding.column, 1),
                "endLine": max(finding.end_line, finding.line),
                "endColumn": max(finding.end_column, 1),
            }
        location["physicalLocation"] = physical
    logical = finding.module or (f"cell {finding.cell}" if finding.cell else "")
    if logical:
        location["logicalLocations"] = [{"fullyQualifiedName": logical}]
    if location:
        result["locations"] = [location]
    return result


def _uri(path: str) -> str:
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(pure.as_posix())
