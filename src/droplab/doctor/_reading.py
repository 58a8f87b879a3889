"""Checking files and folders without importing them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from droplab.doctor import _edit
from droplab.doctor._cache import Cache, Read
from droplab.doctor._elsewhere import Readers
from droplab.doctor._files import files
from droplab.doctor._finding import Finding
from droplab.doctor._settings import Settings
from droplab.doctor._source import UnreadableError, decode, package_of
from droplab.doctor._text import Checked, check_source, fix_source, quiet
from droplab.doctor.checks.unreadable import unreadable
from droplab.errors import ArgumentError

_COLLECT = 500
_MANY, _CHUNK = 200, 40


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


@dataclass(frozen=True, slots=True)
class _Done:
    """A file that was checked; what was mended is not kept, for the file is another one by now."""

    file: Path
    checked: Checked
    key: str = ""
    fixed: tuple[Finding, ...] = ()


def check(
    paths: Iterable[str | Path],
    *,
    settings: Settings | None = None,
    fix: bool = False,
    unsafe_fixes: bool = False,
    jobs: int = 1,
    cache: Cache | None = None,
) -> Report:
    """Check the Python files and notebooks in files and folders, without importing them.

    Args:
        paths: Files and folders.
        settings: What to look for, and where not to; everything everywhere by default.
        fix: Mend what can be mended safely, in place. Notebooks and read-only files are never
            written.
        unsafe_fixes: With `fix`, mend also what changes the numbers of a training that ran.
        jobs: How many processes may share the work where there are many files.
        cache: Keeps what files have told, so that only files that have changed are parsed again.

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
    every = list(files(paths, settings))
    known = {file: cache.find(file, settings) for file in every} if cache is not None else {}
    todo = [file for file in every if _is_open(known.get(file), fix, unsafe_fixes)]
    work = partial(_each, settings=settings, fix=fix, unsafe=unsafe_fixes)
    done = _shared(todo, work, jobs) if jobs > 1 and len(todo) >= _MANY else work(todo)
    if cache is not None:
        for item in done:
            cache.keep(item.file, item.key, item.checked)
        cache.write()
    new = {item.file: item.checked for item in done}
    checked = {file: found for file in every if (found := new.get(file) or known[file])}
    fixed = tuple(finding for item in done for finding in item.fixed)
    findings = tuple(_across(checked))
    return Report(findings, len(every), fixed, time.perf_counter() - begin)


def _is_open(known: Checked | None, fix: bool, unsafe: bool) -> bool:
    """Whether a file must be read: nothing is known of it, or something in it can be mended."""
    if known is None:
        return True
    return fix and any(item.edits and (unsafe or item.fixable) for item in known.findings)


def _shared(todo: list[Path], work: partial[list[_Done]], jobs: int) -> list[_Done]:
    """Check files in several processes; they load neither torch nor the code they read."""
    chunks = [todo[at : at + _CHUNK] for at in range(0, len(todo), _CHUNK)]
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            return [item for part in pool.map(work, chunks) for item in part]
    except BrokenProcessPool:
        # A process was killed, or the main module cannot be imported a second time.
        return work(todo)


def _each(todo: list[Path], settings: Settings, fix: bool, unsafe: bool) -> list[_Done]:
    done: list[_Done] = []
    with quiet():
        for number, file in enumerate(todo, 1):
            done.append(_file(file, settings, fix, unsafe))
            if number % _COLLECT == 0:
                gc.collect()
    return done


def _file(file: Path, settings: Settings, fix: bool, unsafe: bool) -> _Done:
    """Check one file, and mend it if asked to."""
    wanted = settings.wanted(str(file))
    try:
        data = file.read_bytes()
        notebook, package = file.suffix == ".ipynb", package_of(file)
        source = decode(data, str(file), notebook=notebook, package=package)
    except UnreadableError as error:
        finding = unreadable(str(file), str(error), error.line)
        return _Done(file, Checked([finding] if wanted.shows(finding) else []))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        finding = unreadable(str(file), f"cannot be opened: {reason}")
        return _Done(file, Checked([finding] if wanted.shows(finding) else []))
    fixed: list[Finding] = []
    if fix and not notebook and os.access(file, os.W_OK):
        source, fixed = fix_source(source, settings, unsafe=unsafe)
        if fixed:
            _edit.write(file, source)
    key = Read(data, package, notebook, wanted).key if not fixed else ""
    return _Done(file, check_source(source, settings), key, tuple(fixed))


def _across(checked: Mapping[Path, Checked]) -> Iterator[Finding]:
    """Yield all findings, without those that another file refutes.

    A dropout that its own file never calls may be called by a subclass elsewhere.
    """
    readers = Readers({str(path): item.facts for path, item in checked.items()})
    for path, item in checked.items():
        for finding in item.findings:
            owner = finding.evidence.get("class", "")
            attribute = finding.evidence.get("attribute", "")
            if not owner or not readers.read(str(path), owner, attribute):
                yield finding
