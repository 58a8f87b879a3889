"""What files told when they were last checked, so that only changed ones are parsed again.

A file's entry holds what its own bytes say. What follows from several files together is worked out
anew in every check, so a change of one file cannot leave a stale finding in another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from droplab.doctor._edit import replace_file
from droplab.doctor._elsewhere import Facts
from droplab.doctor._finding import Edit, Finding
from droplab.doctor._settings import Settings, Wanted
from droplab.doctor._source import package_of
from droplab.doctor._text import Checked

_FILE = "check.json"
_LARGEST = 256 * 2**20
_PLAIN: dict[str, type] = {
    **dict.fromkeys(("code", "message", "advice", "severity", "source"), str),
    **dict.fromkeys(("line", "column", "end_line", "end_column", "cell"), int),
    "unsafe": bool,
    "complete": bool,
}
_DEFAULTS = {item.name: item.default for item in fields(Finding)}


@dataclass(frozen=True, slots=True)
class Read:
    """All that the findings of a file depend on, apart from the doctor itself."""

    data: bytes
    package: str
    notebook: bool
    wanted: Wanted

    @property
    def key(self) -> str:
        """A digest of it."""
        codes, proven = (",".join(sorted(each)) for each in (self.wanted.codes, self.wanted.proven))
        options = f"{self.package}|{self.notebook}|{codes}|{proven}|"
        return _digest(options.encode() + self.data)


class Cache:
    """The file of the last results in a folder; what is broken or of another version is ignored.

    Args:
        folder: Where it lies; it is made if need be. Paths inside the folder's parent are kept
            relative to it.
        version: The version of droplab.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self._folder = folder
        self._doctor = _doctor(version)
        self._root = f"{folder.parent.absolute()}{os.sep}"
        self._entries: dict[str, Any] = _load(folder / _FILE, self._doctor)
        self._states: dict[str, str] = {}
        self._changed = False

    def find(self, file: Path, settings: Settings) -> Checked | None:
        """Return what a file has told, if it is what it was; None otherwise."""
        entry = self._entries.get(self._name(file))
        if not isinstance(entry, list) or not entry:
            return None
        wanted = settings.wanted(str(file))
        try:
            data = file.read_bytes()
            read = Read(data, package_of(file), file.suffix == ".ipynb", wanted)
            if entry[0] != read.key:
                return None
            checked, states = _checked(cast("list[Any]", entry), str(file))
        except (OSError, ValueError):
            return None
        same = all(self._state(path) == state for path, state in states.items())
        return checked if same else None

    def _state(self, path: str) -> str:
        """Return a digest of a file; "" if it is not there. A check asks once."""
        if path not in self._states:
            try:
                self._states[path] = _digest(Path(self._root, path).read_bytes())
            except OSError:
                self._states[path] = ""
        return self._states[path]

    def keep(self, file: Path, key: str, checked: Checked) -> None:
        """Note what a file has told; nothing is noted without a key."""
        name = self._name(file)
        if key:
            rests_on = {self._name(Path(each)) for each in checked.consulted}
            states = {each: self._state(each) for each in sorted(rests_on)}
            self._entries[name] = _entry(key, checked, states)
            self._changed = True
        elif self._entries.pop(name, None) is not None:
            self._changed = True

    def write(self) -> None:
        """Write what has changed, whole or not at all; a folder that refuses it has no cache."""
        if not self._changed:
            return
        entries = {
            name: entry for name, entry in self._entries.items() if Path(self._root, name).is_file()
        }
        body = json.dumps(entries, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            ignored = self._folder / ".gitignore"
            if not ignored.exists():
                ignored.write_text("# Made by droplab.\n*\n", encoding="utf-8")
            replace_file(self._folder / _FILE, f"{self._doctor} {_digest(body)}\n".encode() + body)

    def _name(self, file: Path) -> str:
        return str(file.absolute()).removeprefix(self._root)


def _load(file: Path, doctor: str) -> dict[str, Any]:
    """Return the entries of a file that this very doctor wrote; none otherwise."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return {}
        head, _, body = file.read_bytes().partition(b"\n")
        if head.decode() != f"{doctor} {_digest(body)}":
            return {}
        entries: Any = json.loads(body)
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", entries) if isinstance(entries, dict) else {}


def _doctor(version: str) -> str:
    """Return a digest of the version, of Python and of the doctor's own files."""
    parts = [version, sys.version]
    home = Path(__file__).parent
    for folder in (home, home / "checks"):
        with os.scandir(folder) as found:
            for item in sorted(found, key=lambda item: item.name):
                if item.name.endswith(".py"):
                    state = item.stat()
                    parts.append(f"{item.name} {state.st_size} {state.st_mtime_ns}")
    return _digest("\n".join(parts).encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def _entry(key: str, checked: Checked, states: dict[str, str]) -> list[Any]:
    facts = checked.facts
    if not (checked.findings or states) and facts == Facts():
        return [key]
    findings = [
        {
            **{
                name: value
                for name in _PLAIN
                if (value := getattr(finding, name)) != _DEFAULTS[name]
            },
            "evidence": finding.evidence,
            "edits": [[edit.start, edit.end, edit.text] for edit in finding.edits],
        }
        for finding in checked.findings
    ]
    classes = [[name, list(bases)] for name, bases in facts.classes]
    return [key, findings, [sorted(facts.reads), sorted(facts.imports), classes], states]


def _checked(entry: list[Any], path: str) -> tuple[Checked, dict[str, str]]:
    """Return what an entry says, and the states of the files that it rests on.

    Raises:
        ValueError: If it is no entry.
    """
    if len(entry) == 1:
        return Checked([]), {}
    try:
        _, findings, (reads, imports, classes), states = entry
        known = tuple((str(name), tuple(bases)) for name, bases in classes)
        facts = Facts(frozenset(reads), frozenset(imports), known)
        found = [_finding(item, path) for item in findings]
        return Checked(found, facts, frozenset(states)), dict(states)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no entry of a cache") from error


def _finding(item: dict[str, Any], path: str) -> Finding:
    plain = {name: item[name] for name in _PLAIN if name in item}
    if not all(isinstance(value, _PLAIN[name]) for name, value in plain.items()):
        raise ValueError("no finding of a cache")
    edits = tuple(Edit(int(start), int(end), str(text)) for start, end, text in item["edits"])
    return replace(Finding(**plain), path=path, evidence=dict(item["evidence"]), edits=edits)
