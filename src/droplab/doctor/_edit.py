"""Applying fixes to a text: never one that does not parse, never two that overlap."""

from __future__ import annotations

import ast
import os
import stat
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

from droplab.doctor._finding import Edit, Finding
from droplab.doctor._source import Source


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with edits made; they must not overlap.

    Example:
        >>> apply("f(x)", [Edit(3, 3, ", p=0.1")])
        'f(x, p=0.1)'
    """
    for edit in sorted(edits, key=lambda item: (item.start, item.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def mend(
    text: str, findings: Iterable[Finding], *, unsafe: bool = False
) -> tuple[str, list[Finding]]:
    """Apply the safe fixes of findings, and the others if `unsafe`.

    A fix that overlaps an earlier one is left for the next round; one whose result does not parse
    is left out.

    Returns:
        The new text, and the findings whose fixes are in it.
    """
    chosen: list[Finding] = []
    taken: list[tuple[int, int]] = []
    for finding in findings:
        if not finding.edits or (finding.unsafe and not unsafe):
            continue
        start = min(edit.start for edit in finding.edits)
        end = max(edit.end for edit in finding.edits)
        if any(start <= b and a <= end for a, b in taken):
            continue
        if not _parses(apply(text, finding.edits)):
            continue
        taken.append((start, end))
        chosen.append(finding)
    result = apply(text, [edit for finding in chosen for edit in finding.edits])
    if chosen and not _parses(result):
        # Each alone parses and they do not overlap, yet together they do not: keep the first.
        chosen = chosen[:1]
        result = apply(text, chosen[0].edits)
    return result, chosen


def write(path: Path, source: Source) -> None:
    """Write a source back in its own encoding, whole or not at all; mode and links are kept."""
    target = Path(os.path.realpath(path))
    mode = stat.S_IMODE(target.stat().st_mode)
    replace_file(target, source.text.encode(source.encoding), mode)


def replace_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file, whole or not at all, readable by its owner unless a mode is given."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
