"""Checking source without importing it: a text, files, folders."""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from droplab.doctor import _edit
from droplab.doctor._codes import READING
from droplab.doctor._elsewhere import Facts, Readers, consulted
from droplab.doctor._files import files
from droplab.doctor._finding import Finding
from droplab.doctor._module import Module
from droplab.doctor._relevance import is_relevant, may_read
from droplab.doctor._settings import Settings
from droplab.doctor._source import Source, UnreadableError, read
from droplab.doctor._suppress import Suppressions
from droplab.doctor.checks.unreadable import unreadable
from droplab.errors import ArgumentError

_ROUNDS = 10
_COLLECT = 500
_MANY, _CHUNK = 200, 40
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of files found.

    Args:
        findings: In the order of files and lines.
        files: How many files were read.
        fixed: Findings that `fix` has mended; they are not among `findings`.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...] = ()
    files: int = 0
    fixed: tuple[Finding, ...] = ()
    seconds: float = 0.0


@dataclass
class _Checked:
    """What is known of one file; `consulted`: paths, there or not, that its findings rest on."""

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
    with _quiet():
        return _check(Source(text, path), settings or Settings()).findings


def check(
    paths: Iterable[str | Path],
    *,
    settings: Settings | None = None,
    fix: bool = False,
    jobs: int = 1,
) -> Report:
    """Check the Python files and notebooks in files and folders, without importing them.

    Args:
        paths: Files and folders.
        settings: What to look for, and where not to; everything everywhere by default.
        fix: Mend what can be mended safely, in place. Notebooks and read-only files are never
            written.
        jobs: How many processes may share the work where there are many files.

    Returns:
        A report. A file that cannot be read or parsed is a finding (DRP000), not an error.

    Raises:
        ArgumentError: A path does not exist, or is neither a folder, a Python file nor a notebook;
            or jobs is below 1.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = check([folder])
        >>> report.findings, report.files
        ((), 0)
    """
    if jobs < 1:
        raise ArgumentError(f"check: jobs must be at least 1, got {jobs}")
    settings = settings or Settings()
    begin = time.perf_counter()
    todo = list(files(paths, settings))
    if jobs > 1 and len(todo) >= _MANY:
        done = _shared(todo, settings, fix, jobs)
    else:
        done = _each(todo, settings, fix)
    checked = {name: item for name, item, _ in done}
    fixed = [finding for _, _, mended in done for finding in mended]
    findings = tuple(_across(checked))
    return Report(findings, len(checked), tuple(fixed), time.perf_counter() - begin)


_Done = tuple[str, _Checked, list[Finding]]


def _shared(todo: list[Path], settings: Settings, fix: bool, jobs: int) -> list[_Done]:
    """Check files in several processes; they load neither torch nor the code they read."""
    chunks = [todo[at : at + _CHUNK] for at in range(0, len(todo), _CHUNK)]
    work = partial(_each, settings=settings, fix=fix)
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            return [item for part in pool.map(work, chunks) for item in part]
    except BrokenProcessPool:
        # A process was killed, or the main module cannot be imported a second time.
        return _each(todo, settings, fix)


def _each(todo: list[Path], settings: Settings, fix: bool) -> list[_Done]:
    done: list[_Done] = []
    with _quiet():
        for number, file in enumerate(todo, 1):
            done.append((str(file), *_file(file, settings, fix)))
            if number % _COLLECT == 0:
                gc.collect()
    return done


def _file(file: Path, settings: Settings, fix: bool) -> tuple[_Checked, list[Finding]]:
    """Check one file, and mend it if asked to."""
    try:
        source = read(file)
    except UnreadableError as error:
        finding = unreadable(str(file), str(error), error.line)
        return _Checked(_kept([finding], settings)), []
    except OSError as error:
        reason = error.strerror or type(error).__name__
        finding = unreadable(str(file), f"cannot be opened: {reason}")
        return _Checked(_kept([finding], settings)), []
    fixed: list[Finding] = []
    if fix and not source.notebook and os.access(file, os.W_OK):
        source, fixed = fix_source(source, settings)
        if fixed:
            _edit.write(file, source)
    return _check(source, settings), fixed


def fix_source(source: Source, settings: Settings) -> tuple[Source, list[Finding]]:
    """Return a source with every safe fix applied, and the findings that went away."""
    done: list[Finding] = []
    for _ in range(_ROUNDS):
        text, chosen = _edit.mend(source.text, _check(source, settings).findings)
        if not chosen or text == source.text:
            break
        source = replace(source, text=text)
        done.extend(chosen)
    return source, done


def _check(source: Source, settings: Settings) -> _Checked:
    text = source.text
    try:
        tree = source.parse()
    except SyntaxError as error:
        line = min(max(error.lineno or 1, 1), max(len(source.lines), 1))
        finding = unreadable(source.path, f"syntax error for Python {_PYTHON}: {error.msg}", line)
        column = max(error.offset or 1, 1)
        finding = replace(
            finding, column=column, end_column=column, source=source.line(line).strip()
        )
        return _Checked(_kept([finding], settings))
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "nested too deeply"
        return _Checked(_kept([unreadable(source.path, f"cannot be parsed: {reason}")], settings))
    if not is_relevant(text, source.package):
        facts = Facts.of(Module(source, tree)) if may_read(text) else Facts()
        return _Checked([], facts)
    module = Module(source, tree)
    silenced = Suppressions(source)
    found: dict[tuple[str, int, int, int], Finding] = {}
    for code, run in READING.items():
        if not settings.wants(code, source.path):
            continue
        try:
            hits = list(run(module))
        except RecursionError:
            hits = [unreadable(source.path, f"nested too deeply to look for {code}")]
        for finding in hits:
            shift = finding.line - source.cell_line(finding.line) if source.cells else 0
            first = _text_line(source, finding.cell, finding.line)
            if not silenced(finding, first, first + finding.end_line - finding.line + shift):
                found.setdefault(
                    (finding.code, finding.cell, finding.line, finding.column), finding
                )
    ordered = sorted(found.values(), key=lambda f: (f.cell, f.line, f.column, f.code))
    return _Checked(_kept(ordered, settings), Facts.of(module), consulted(module))


def _text_line(source: Source, cell: int, line: int) -> int:
    for item in source.cells:
        if item.number == cell:
            return item.first + line - 1
    return line


def _across(checked: dict[str, _Checked]) -> Iterator[Finding]:
    """Yield all findings, without those that another file refutes.

    A dropout that its own file never calls may be called by a subclass elsewhere.
    """
    readers = Readers({path: item.facts for path, item in checked.items()})
    for path, item in checked.items():
        for finding in item.findings:
            owner = finding.evidence.get("class", "")
            attribute = finding.evidence.get("attribute", "")
            if not owner or not readers.read(path, owner, attribute):
                yield finding


def _kept(findings: list[Finding], settings: Settings) -> list[Finding]:
    return [finding for finding in findings if settings.wants(finding.code, finding.path)]


@contextmanager
def _quiet() -> Iterator[None]:
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
