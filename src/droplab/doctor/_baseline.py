"""Findings that were there before: a file that lists them, so that only new ones are reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, cast

from droplab.doctor._finding import Finding
from droplab.documents import DocumentError, parse_json, read_text
from droplab.errors import ArgumentError

_VERSION = 1


def write_baseline(path: Path, findings: Iterable[Finding]) -> None:
    """Write the findings that are accepted as they are.

    A finding is known by its file (relative to the folder of the baseline), its code and the text
    of its line, not by the line's number, which changes with every edit above it.
    """
    counts = Counter(_key(finding, path.parent) for finding in findings)
    entries = [
        {"path": file, "code": code, "source": source, "count": count}
        for (file, code, source), count in sorted(counts.items())
    ]
    document = {"version": _VERSION, "findings": entries}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be written: {error.strerror}") from None


def without_baseline(path: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that a baseline does not list.

    Where a line is listed once and found twice, the second one is new.

    Raises:
        ArgumentError: The file is missing or is no baseline.
    """
    left = _read(path)
    new: list[Finding] = []
    for finding in findings:
        key = _key(finding, path.parent)
        if left[key] > 0:
            left[key] -= 1
        else:
            new.append(finding)
    return new


def _key(finding: Finding, root: Path) -> tuple[str, str, str]:
    file = Path(finding.path).resolve()
    home = root.resolve()
    shown = file.relative_to(home) if file.is_relative_to(home) else PurePath(finding.path)
    return shown.as_posix(), finding.code, finding.source


def _read(path: Path) -> Counter[tuple[str, str, str]]:
    wanted = f"{path}: expected a baseline that --update-baseline wrote"
    try:
        document: Any = parse_json(read_text(path))
    except DocumentError as error:
        raise ArgumentError(f"{wanted}, got {error}") from None
    entries = cast("dict[str, Any]", document).get("findings") if _is_ours(document) else None
    if not isinstance(entries, list):
        raise ArgumentError(f"{wanted}, got something else")
    found: Counter[tuple[str, str, str]] = Counter()
    for entry in cast("list[Any]", entries):
        try:
            found[str(entry["path"]), str(entry["code"]), str(entry["source"])] += int(
                entry["count"]
            )
        except (TypeError, KeyError, ValueError):
            raise ArgumentError(f"{wanted}, got an entry without path, code and count") from None
    return found


def _is_ours(document: object) -> bool:
    return isinstance(document, dict) and cast("dict[str, Any]", document).get("version") == 1
