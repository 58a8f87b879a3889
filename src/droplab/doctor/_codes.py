"""The table of all checks, collected from their files."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from droplab.doctor import checks
from droplab.doctor._finding import Code, Finding, FoundBy
from droplab.doctor._module import Module
from droplab.errors import ArgumentError, nearest, quote

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam
    from droplab.doctor.live._loop import Loop

CODES: dict[str, Code] = {}
"""Every check by its code."""

READING: dict[str, Callable[[Module], Iterator[Finding]]] = {}
"""Every check that reads source, by code."""

RUNNING: dict[str, Callable[[Exam], Iterator[Finding]]] = {}
"""Every check that runs a model, by code."""

WATCHING: dict[str, Callable[[Loop], Iterator[Finding]]] = {}
"""Every check that watches a loop, by code."""


def _collect() -> None:
    files: list[Any] = [
        importlib.import_module(f"{checks.__name__}.{item.name}")
        for item in pkgutil.iter_modules(checks.__path__)
    ]
    ways: dict[FoundBy, dict[str, Any]] = {
        "reading": READING,
        "running": RUNNING,
        "watching": WATCHING,
    }
    for file in sorted(files, key=lambda file: file.CODE.code):
        row: Code = file.CODE
        found_by: tuple[FoundBy, ...] = tuple(way for way in ways if hasattr(file, way))
        CODES[row.code] = replace(row, found_by=found_by or row.found_by)
        for way in found_by:
            ways[way][row.code] = getattr(file, way)


_collect()


def expand(selection: Iterable[str], *, where: str) -> frozenset[str]:
    """Return the codes that a list of codes, prefixes or names stands for.

    Args:
        selection: Codes ("DRP001"), prefixes ("DRP03"), names ("on-logits") or "ALL".
        where: What to call the list in an error message.

    Raises:
        ArgumentError: An item stands for no check.

    Example:
        >>> sorted(expand(["DRP00", "on-logits"], where="--select"))[-2:]
        ['DRP009', 'DRP031']
        >>> expand(["DRP099"], where="--select")
        Traceback (most recent call last):
        ...
        droplab.errors.ArgumentError: --select: expected codes, prefixes or names of checks, ...
    """
    found: set[str] = set()
    for item in selection:
        key = item.strip()
        if key.upper() == "ALL":
            hits = list(CODES)
        elif re.fullmatch(r"(?i)drp\d{0,3}", key):
            hits = [code for code in CODES if code.startswith(key.upper())]
        else:
            hits = [entry.code for entry in CODES.values() if entry.name == key.lower()]
        if not hits:
            names = [*CODES, *(entry.name for entry in CODES.values())]
            close = nearest(key.upper() if key[:1] in "dD" else key.lower(), names)
            hint = close if "did you mean" in close else "; `droplab check --list` lists them"
            raise ArgumentError(
                f"{where}: expected codes, prefixes or names of checks, got {quote(item)}{hint}"
            )
        found.update(hits)
    return frozenset(found)
