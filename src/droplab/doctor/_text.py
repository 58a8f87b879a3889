"""Checking one text, and mending it."""

from __future__ import annotations

import gc
import symtable
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from droplab.doctor import _edit
from droplab.doctor._codes import READING
from droplab.doctor._elsewhere import Facts, consulted
from droplab.doctor._evidence import may_prove
from droplab.doctor._finding import Finding
from droplab.doctor._module import Module
from droplab.doctor._relevance import is_relevant, may_read
from droplab.doctor._settings import Settings
from droplab.doctor._source import Source
from droplab.doctor._suppress import Suppressions
from droplab.doctor.checks.unreadable import unreadable

_ROUNDS = 10
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass
class Checked:
    """What one text has told.

    Args:
        findings: In the order of cells and lines.
        facts: What it says about classes of other files; it may refute a finding there.
        consulted: Paths of other files, there or not, that the findings rest on.
    """

    findings: list[Finding]
    facts: Facts = field(default_factory=Facts)
    consulted: frozenset[str] = frozenset()


def check_text(
    text: str, *, path: str = "<text>", settings: Settings | None = None
) -> list[Finding]:
    r"""Return what is wrong with the dropout in a piece of Python source.

    The text is parsed, never run or imported.

    Args:
        text: Python source.
        path: How to call it in the findings.
        settings: What to look for; everything by default.

    Returns:
        The findings in the order of their lines. A text that does not parse gives one, DRP000.

    Example:
        >>> source = "from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)"
        >>> [(finding.code, finding.line) for finding in check_text(source)]
        [('DRP015', 2)]
    """
    with quiet():
        return check_source(Source(text, path), settings or Settings()).findings


def fix_source(
    source: Source, settings: Settings, *, unsafe: bool = False
) -> tuple[Source, list[Finding]]:
    """Return a source with every safe fix applied, and the findings that went away.

    With `unsafe`, unsafe fixes are applied as well.
    """
    done: list[Finding] = []
    for _ in range(_ROUNDS):
        text, chosen = _edit.mend(
            source.text, check_source(source, settings).findings, unsafe=unsafe
        )
        if not chosen or text == source.text:
            break
        source = replace(source, text=text)
        done.extend(chosen)
    return source, done


def check_source(source: Source, settings: Settings) -> Checked:
    """Return what a source has told; `quiet` is to stand around it."""
    text = source.text
    wanted = settings.wanted(source.path)
    relevant = is_relevant(text, source.package)
    told = relevant or may_read(text)
    if not told and _compiles(text):
        return Checked([])
    try:
        tree = source.parse()
    except SyntaxError as error:
        line = min(max(error.lineno or 1, 1), max(len(source.lines), 1))
        finding = unreadable(source.path, f"syntax error for Python {_PYTHON}: {error.msg}", line)
        column = max(error.offset or 1, 1)
        finding = replace(
            finding, column=column, end_column=column, source=source.line(line).strip()
        )
        return Checked([finding] if wanted.shows(finding) else [])
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "nested too deeply"
        finding = unreadable(source.path, f"cannot be parsed: {reason}")
        return Checked([finding] if wanted.shows(finding) else [])
    if not told:
        return Checked([])
    module = Module(source, tree)
    if not relevant:
        return Checked([], Facts.of(module))
    silenced = Suppressions(source)
    found: dict[tuple[str, int, int, int], Finding] = {}
    for code, run in READING.items():
        if code not in wanted.codes or (code in wanted.proven and not may_prove(module)):
            continue
        try:
            hits = list(run(module))
        except RecursionError:
            hits = [unreadable(source.path, f"nested too deeply to look for {code}")]
        for finding in hits:
            shift = finding.line - source.cell_line(finding.line) if source.cells else 0
            first = _text_line(source, finding.cell, finding.line)
            if not silenced(finding, first, first + finding.end_line - finding.line + shift):
                place = (finding.code, finding.cell, finding.line, finding.column)
                if place not in found or (finding.complete and not found[place].complete):
                    found[place] = finding
    ordered = sorted(found.values(), key=lambda f: (f.cell, f.line, f.column, f.code))
    kept = [finding for finding in ordered if wanted.shows(finding)]
    return Checked(kept, Facts.of(module), consulted(module))


def _compiles(text: str) -> bool:
    """Return whether a text surely parses, without making a tree of objects of it.

    The table of symbols refuses more than the parser does; the parser then has the last word.
    """
    try:
        symtable.symtable(text, "", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _text_line(source: Source, cell: int, line: int) -> int:
    for item in source.cells:
        if item.number == cell:
            return item.first + line - 1
    return line


@contextmanager
def quiet() -> Iterator[None]:
    """Parse without warnings about other people's escapes, and without collecting garbage.

    Syntax trees hold hundreds of thousands of objects that all stay alive; the collector would
    walk them again and again (measured: a fifth of the time).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if enabled:
            gc.enable()
