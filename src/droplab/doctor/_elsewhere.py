"""Classes that stand in other files, found by what a file imports, as Python would find them.

The files are read from the disk, whether they are checked or not: what is found in a file rests on
the file and its imports, never on what else the same call checks.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from droplab.doctor._classes import ClassInfo, Function
from droplab.doctor._module import Module
from droplab.doctor._source import UnreadableError, decode, package_of

_PLAIN = frozenset({"torch.nn.Module", "torch.nn.Sequential", "abc.ABC", "typing.Generic"})
_ROOTS = ("src", "lib", "python")
_LEVELS = 8
_REEXPORTS = 5


@dataclass(frozen=True)
class Facts:
    """What a file has to say about classes of other files.

    Args:
        reads: Attributes that it reads, and short strings, which may name some.
        imports: What it imports, by full names; "package.*" for all names of a module.
        classes: Its classes, each with the full names of its bases, or own names.
    """

    reads: frozenset[str] = frozenset()
    imports: frozenset[str] = frozenset()
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, module: Module) -> Facts:
        """Return the facts of a parsed file."""
        classes = tuple((info.name, tuple(_bases(info))) for info in module.classes)
        reads = frozenset(module.read_attributes | module.strings)
        return cls(reads, frozenset(module.imported), classes)


@dataclass
class Lineage:
    """The classes of other files that a class derives from; `complete` if all of them were found.

    Args:
        found: Each with the file that it stands in.
        complete: Whether nothing but torch's own classes is left at the top.
    """

    found: list[tuple[Module, ClassInfo]] = field(default_factory=list[tuple[Module, ClassInfo]])
    complete: bool = True

    def values(self, attribute: str) -> list[tuple[Module, ast.expr, Function]]:
        """Return what the classes assign to an attribute of self, each with its file."""
        return [
            (module, value, method)
            for module, info in self.found
            for value, method in info.own_attributes.get(attribute, ())
        ]


def lineage(module: Module, info: ClassInfo) -> Lineage:
    """Return the classes of other files above a class; computed once a file."""
    known: dict[ClassInfo, Lineage] = module.cache.setdefault("lineage", {})
    if info not in known:
        known[info] = Lineage()
        seen: set[tuple[Path, str]] = set()
        _climb(module, info, known[info], module.cache.setdefault("consulted", set()), seen)
    return known[info]


def derives_elsewhere(info: ClassInfo) -> bool:
    """Return whether a class has bases that are neither in its file nor torch's own."""
    return any(
        not _is_plain(full)
        for item in info.family
        for node, full in zip(item.node.bases, item.bases, strict=True)
        if not _is_own(item, node)
    )


def _is_plain(name: str) -> bool:
    return name in _PLAIN or name.endswith("LightningModule")


def _is_own(info: ClassInfo, base: ast.expr) -> bool:
    own = {parent.name for parent in info.parents} | {"object"}
    return isinstance(base, ast.Name) and base.id in own


def consulted(module: Module) -> frozenset[str]:
    """Return the paths, there or not, on which the findings of a file rest."""
    return frozenset(module.cache.get("consulted", ()))


def _climb(
    module: Module, info: ClassInfo, line: Lineage, asked: set[str], seen: set[tuple[Path, str]]
) -> None:
    for item in info.family:
        for node, full in zip(item.node.bases, item.bases, strict=True):
            name = full or module.resolve(getattr(node, "value", node))
            if _is_own(item, node) or _is_plain(name):
                continue
            if not name and isinstance(node, ast.Name):
                place = _by_star(module, node.id, asked)
            else:
                place = _place(module.source.path, name, asked)
            other = load(place[0]) if place is not None else None
            above = other.class_named(place[1]) if other is not None and place is not None else None
            if other is None or above is None or place is None:
                line.complete = False
            elif place not in seen:
                seen.add(place)
                line.found.extend((other, each) for each in above.family)
                _climb(other, above, line, asked, seen)


def defined(module: Module, full: str) -> tuple[Path, str] | None:
    """Return the file that defines a class and its name there, by its full name in a file."""
    return _place(module.source.path, full, module.cache.setdefault("consulted", set()))


class Readers:
    """Which checked files can reach a class of another file.

    Args:
        files: The facts of all checked files, by path.
    """

    def __init__(self, files: Mapping[str, Facts]) -> None:
        self._files = files
        self._paths = {os.path.realpath(path): path for path in files}
        self._by_last: dict[str, list[tuple[str, str]]] = {}
        for path, facts in files.items():
            for full in facts.imports:
                head, _, last = full.rpartition(".")
                key = head.rpartition(".")[2] if last == "*" else last
                self._by_last.setdefault(key, []).append((path, full))

    def read(self, path: str, name: str, attribute: str) -> bool:
        """Return whether a file that imports a class, or a class derived from it, reads that."""
        todo = [(os.path.realpath(path), name)]
        seen = set(todo)
        while todo:
            target = todo.pop()
            reached = [(self._paths.get(target[0], path), target[1]), *self._importers(*target)]
            for at, (other, known) in enumerate(reached):
                facts = self._files[other]
                if at and attribute in facts.reads:
                    return True
                for own, bases in facts.classes:
                    child = (os.path.realpath(other), own)
                    if known in bases and child not in seen:
                        seen.add(child)
                        todo.append(child)
        return False

    def _importers(self, file: str, name: str) -> Iterator[tuple[str, str]]:
        """Yield (path, name there) of the files that import a class, or all of its module."""
        at = Path(file)
        stem = at.parent.name if at.stem == "__init__" else at.stem
        for path, full in dict.fromkeys([*self._named(name), *self._named(stem)]):
            last = full.rpartition(".")[2]
            whole = full if last == name else f"{full.removesuffix('.*')}.{name}"
            place = _place(path, whole, set())
            if place is not None and (os.path.realpath(place[0]), place[1]) == (file, name):
                yield path, name if last == "*" else whole

    def _named(self, key: str) -> list[tuple[str, str]]:
        return self._by_last.get(key, [])


def _bases(info: ClassInfo) -> Iterator[str]:
    for node, full in zip(info.node.bases, info.bases, strict=True):
        yield full or (node.id if isinstance(node, ast.Name) else "")


def _by_star(module: Module, name: str, asked: set[str]) -> tuple[Path, str] | None:
    for star in module.stars:
        place = _place(module.source.path, f"{star}.{name}", asked)
        if place is not None:
            return place
    return None


def _place(
    importer: str, full: str, asked: set[str], left: int = _REEXPORTS
) -> tuple[Path, str] | None:
    """Return the file that defines a class, by its full name as another file imports it."""
    found = _file(importer, full, asked)
    return _defined(*found, asked, left) if found is not None else None


def _file(importer: str, full: str, asked: set[str]) -> tuple[Path, list[str]] | None:
    """Return the file that a full name stands in, and what is left of the name."""
    parts = full.split(".")
    if importer.startswith("<") or len(parts) < 2 or parts[0] in ("", "torch"):
        return None
    folders = list(_folders(importer))
    # The longest path first: a file seq2seq.py nearby is not the package seq2seq above.
    for length in range(len(parts) - 1, 0, -1):
        for folder in folders:
            stem = folder.joinpath(*parts[:length])
            for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
                asked.add(str(file))
                if file.is_file():
                    return file, parts[length:]
    return None


def _defined(file: Path, names: list[str], asked: set[str], left: int) -> tuple[Path, str] | None:
    """Return where a name of a file is defined: there, or where the file imports it from."""
    module = load(file)
    if module is None or len(names) != 1 or not left:
        return None
    if module.class_named(names[0]) is not None:
        return file, names[0]
    full = module.bound(names[0])
    if full:
        return _place(str(file), full, asked, left - 1)
    for star in module.stars:
        place = _place(str(file), f"{star}.{names[0]}", asked, left - 1)
        if place is not None:
            return place
    return None


def _folders(importer: str) -> Iterator[Path]:
    """Yield the folders that may be on the path when a file is imported, the nearest first."""
    for above in list(Path(importer).absolute().parents)[:_LEVELS]:
        yield above
        yield from (above / root for root in _ROOTS if (above / root).is_dir())


def load(file: Path) -> Module | None:
    """Return a parsed file; None if it cannot be read. Kept while the file stays as it is."""
    try:
        now = file.stat()
        return _load(str(file), now.st_mtime_ns, now.st_size)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _load(path: str, changed: int, size: int) -> Module | None:
    try:
        source = decode(Path(path).read_bytes(), path, package=package_of(Path(path)))
        return Module(source, source.parse())
    except (OSError, UnreadableError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
