"""Findings as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from droplab.doctor._finding import Finding


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
