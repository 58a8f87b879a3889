"""Settings of the doctor: what to select, to ignore and to leave out."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, cast

from droplab.doctor._codes import CODES, expand
from droplab.doctor._finding import Finding, FoundBy
from droplab.documents import DocumentError, parse_toml, read_text
from droplab.errors import ArgumentError, nearest, quote

_KEYS = ("select", "ignore", "exclude", "per-file-ignores")
_TABLE = "[tool.droplab.check]"
_DEFAULT = frozenset(code for code, row in CODES.items() if row.provable or not row.optional)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is reported for a file.

    Args:
        codes: The codes that are looked for.
        proven: Those of them of which only findings with complete evidence are reported.
    """

    codes: frozenset[str]
    proven: frozenset[str] = frozenset()

    def shows(self, finding: Finding) -> bool:
        """Return whether a finding is reported."""
        return finding.code in self.codes and (finding.complete or finding.code not in self.proven)


@dataclass(frozen=True, slots=True)
class Settings:
    """What to check and what to leave alone.

    Args:
        select: The codes that are checked. By default all but the optional ones, and of these what
            is proven.
        ignore: Codes taken out of `select`.
        exclude: Glob patterns of files and folders that are not read.
        per_file_ignores: Glob pattern to codes that are ignored in the files it matches.
        root: Folder that the patterns are relative to.

    Example:
        >>> Settings(select=frozenset({"DRP001"})).wants("DRP001", "net.py")
        True
    """

    select: frozenset[str] = _DEFAULT
    ignore: frozenset[str] = frozenset()
    exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, frozenset[str]] = field(
        default_factory=dict[str, frozenset[str]]
    )
    root: Path | None = None

    def wants(self, code: str, path: str, found_by: FoundBy = "reading") -> bool:
        """Return whether a code is reported for a file. DRP000 always is, unless ignored."""
        return code in self.wanted(path, found_by).codes

    def wanted(self, path: str, found_by: FoundBy = "reading") -> Wanted:
        """Return what is reported for a file; only reading leaves optional codes out."""
        usual = self.select == _DEFAULT
        every = found_by != "reading" and usual
        found = (frozenset(CODES) if every else self.select | {"DRP000"}) - self.ignore
        for pattern, codes in self.per_file_ignores.items():
            if self._matches(path, pattern):
                found -= codes
        weak = usual and not every
        return Wanted(found, frozenset(code for code in found if weak and CODES[code].provable))

    def excludes(self, path: str | Path) -> bool:
        """Return whether a file or folder is left out."""
        return any(self._matches(str(path), pattern) for pattern in self.exclude)

    def _matches(self, path: str, pattern: str) -> bool:
        pure = PurePath(path)
        names = [pure.as_posix(), pure.name]
        if self.root is not None:
            with contextlib.suppress(ValueError, OSError):
                names.append(Path(path).resolve().relative_to(self.root.resolve()).as_posix())
        pattern = pattern.removesuffix("/")
        return any(
            fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"{pattern}/*")
            for name in names
        )

    def override(
        self,
        *,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> Settings:
        """Return the settings with the command line's choices: `select` replaces, others add.

        Raises:
            ArgumentError: A code does not exist.
        """
        chosen, dropped = tuple(select), tuple(ignore)
        return replace(
            self,
            select=expand(chosen, where="--select") if chosen else self.select,
            ignore=self.ignore | expand(dropped, where="--ignore"),
            exclude=(*self.exclude, *exclude),
        )


def load_settings(folder: Path) -> Settings:
    """Read `[tool.droplab.check]` of the nearest pyproject.toml in or above a folder.

    Returns:
        The settings there, or the default ones if no file has the table.

    Raises:
        ArgumentError: The file is not valid TOML, or the table has an unknown key, a wrong type or
            a code that does not exist.
    """
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            document = parse_toml(read_text(file))
        except DocumentError as error:
            raise ArgumentError(f"{file}: expected valid TOML, got {error}") from None
        tool = document.get("tool", {})
        table = tool.get("droplab", {}) if isinstance(tool, dict) else {}
        if isinstance(table, dict) and "check" in table:
            return _parse(cast("dict[str, Any]", table)["check"], file, place)
        return Settings(root=place)
    return Settings()


def _parse(table: object, file: Path, root: Path) -> Settings:
    where = f"{file}: {_TABLE}"
    if not isinstance(table, dict):
        raise ArgumentError(f"{where}: expected a table, got {quote(table)}")
    entries = cast("dict[str, object]", table)
    for key in entries:
        if key not in _KEYS:
            raise ArgumentError(f"{where}: unknown key {quote(key)}{nearest(key, _KEYS)}")
    settings = Settings(root=root)
    if "select" in entries:
        chosen = _strings(entries["select"], f"{where}: select")
        settings = replace(settings, select=expand(chosen, where=f"{where}: select"))
    ignore = _strings(entries.get("ignore", []), f"{where}: ignore")
    per_file = entries.get("per-file-ignores", {})
    if not isinstance(per_file, dict):
        raise ArgumentError(
            f"{where}: per-file-ignores: expected a table of patterns, got {quote(per_file)}"
        )
    return replace(
        settings,
        ignore=expand(ignore, where=f"{where}: ignore"),
        exclude=tuple(_strings(entries.get("exclude", []), f"{where}: exclude")),
        per_file_ignores={
            pattern: expand(
                _strings(codes, f"{where}: per-file-ignores"),
                where=f"{where}: per-file-ignores",
            )
            for pattern, codes in cast("dict[str, object]", per_file).items()
        },
    )


def _strings(value: object, where: str) -> list[str]:
    items = cast("list[object]", value) if isinstance(value, list) else None
    if items is None or not all(isinstance(item, str) for item in items):
        raise ArgumentError(
            f'{where}: expected a list of strings, such as ["DRP001"], got {quote(value)}'
        )
    return cast("list[str]", items)
