"""What the numbers of a run depend on besides recipe and data: source code and versions."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import json
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch

from droplab.data import StreamedSplit
from droplab.importing import is_installed
from droplab.studies._experiment import BuildModel, Experiment
from droplab.train import initial_model

_DEPTH = 4
"""How far an object is followed into what it holds, such as a data set in a data set."""


@dataclasses.dataclass(frozen=True)
class Code:
    """Digests of the user's own source behind an experiment, and the versions of what it uses.

    Attributes:
        sources: Module, or `__main__.name` -> SHA-256; "" where there is no source to look at.
        versions: Package -> version: torch, droplab, and what the user's source imports.
        files: Module -> the file it lies in; for messages, not kept.
    """

    sources: Mapping[str, str]
    versions: Mapping[str, str]
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict, compare=False)

    def to_json(self) -> str:
        """Return what is kept with a run."""
        return json.dumps({"sources": dict(self.sources), "versions": dict(self.versions)})

    @classmethod
    def from_json(cls, text: str) -> Code:
        """Return what `to_json` wrote."""
        found = json.loads(text)
        return cls(found["sources"], found["versions"])

    def changes_since(self, before: Code) -> list[str]:
        """Say what is not as it was, in words; nothing where that cannot be told."""
        changes: list[str] = []
        for name in sorted({*before.sources, *self.sources}):
            old, new = before.sources.get(name), self.sources.get(name)
            where = str(self.files.get(name, name))
            if old is None:
                changes.append(f"{where} is new")
            elif new is None:
                changes.append(f"{where} is not used any more")
            elif old and new and old != new:
                changes.append(f"{where} was changed")
        for name in sorted(before.versions):
            old, new = before.versions[name], self.versions.get(name)
            if new is not None and new != old:
                changes.append(f"{name} was {old}, is {new}")
        return changes


def code_of(experiment: Experiment) -> Code:
    """Return the code behind an experiment.

    Followed are the modules that the recipe names, those of the model's own classes, and of a
    factory, optimizer function or streamed data set that was given; then what they import, as far
    as it lies in the same project. Of the main module, which changes whenever somebody edits the
    call, only what the model is made of counts.
    """
    walk = _Walk()
    recipe, build = experiment.recipe, experiment.build
    if isinstance(build, BuildModel):
        if ":" in build.spec.path:
            walk.add_root(build.spec.path.partition(":")[0])
    else:
        walk.add(build)
    function = recipe.data.function or ""
    if not function.startswith("__main__:"):
        walk.add_root(function.partition(":")[0])
    walk.add(experiment.make_optimizer)
    loss = recipe.loss.name if recipe.loss is not None else ""
    if experiment.own_loss is not None:
        walk.add(experiment.own_loss)
    elif ":" in loss:
        walk.add_root(loss.partition(":")[0])
    functions = experiment.own_metrics or {}
    for metric in recipe.also_measure or ():
        if metric.name in functions:
            walk.add(functions[metric.name])
        elif metric.path is not None:
            walk.add_root(metric.path.partition(":")[0])
    for split in (experiment.splits.train, experiment.splits.validation):
        if isinstance(split, StreamedSplit):
            walk.add(split.dataset)
    for module in initial_model(build, recipe.seeds[0]).modules():
        walk.add(type(module))
    versions = {"torch": torch.__version__, "droplab": sys.modules["droplab"].__version__}
    return Code(walk.sources, versions | walk.versions(), walk.files)


class _Walk:
    """Collects the user's source from objects and modules on."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.files: dict[str, Path] = {}
        self._packages: set[str] = set()
        self._projects = {Path.cwd().resolve()}
        self._seen: set[str] = set()
        self._held: dict[int, Any] = {}

    def versions(self) -> dict[str, str]:
        """Versions of the installed packages that were met, where they state one."""
        names = sorted(self._packages - sys.stdlib_module_names)
        with warnings.catch_warnings():  # some packages warn of being asked
            warnings.simplefilter("ignore", DeprecationWarning)
            found = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
        return {name: text for name, text in found.items() if isinstance(text, str)}

    def add(self, thing: Any, depth: int = _DEPTH) -> None:
        """Add the source of a function or class, or of an object and of what it holds."""
        if not depth or id(thing) in self._held:
            return
        self._held[id(thing)] = thing
        if isinstance(thing, MethodType):
            self.add(thing.__self__, depth)
            return
        if isinstance(thing, FunctionType):
            thing = inspect.unwrap(thing)
            for cell in thing.__closure__ or ():
                if (held := _content(cell)) is not None:
                    self.add(held, depth - 1)
            self._add_definition(thing)
        elif isinstance(thing, type):
            for parent in thing.__mro__[:-1]:
                self._add_definition(parent)
        elif type(thing).__module__ != "builtins":
            self.add(type(thing), depth)
            held = [*getattr(thing, "__dict__", {}).values()]
            for value in [*held, getattr(thing, "func", None)]:  # functools.partial has no dict
                if callable(value) or hasattr(value, "__getitem__"):
                    self.add(value, depth - 1)

    def add_root(self, name: str) -> None:
        """Add a module; its project is the folder that holds its outermost package."""
        file = _file_of(name)
        if file is not None and not _is_installed(name, file):
            self._projects.add(file.parents[name.count(".") + (file.stem == "__init__")])
        self._add_module(name)

    def _add_definition(self, thing: Any) -> None:
        if thing.__module__ == "__main__":
            self._add_main(thing)
        elif thing.__module__:
            self.add_root(thing.__module__)

    def _add_module(self, name: str) -> None:
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if not name or name in self._seen:
                continue
            self._seen.add(name)
            waiting.append(name.rpartition(".")[0])
            file = _file_of(name)
            if file is None:
                continue
            if _is_installed(name, file) or not any(map(file.is_relative_to, self._projects)):
                self._packages.add(name.partition(".")[0])
                continue
            try:
                content = file.read_bytes()
            except OSError:
                self.sources[name] = ""
                continue
            self.sources[name] = hashlib.sha256(content).hexdigest()
            self.files[name] = file
            if file.suffix == ".py":
                waiting += _imports(content, name if file.stem == "__init__" else _parent(name))

    def _add_main(self, thing: Any) -> None:
        """Add what is defined in the main module, with what its source names there."""
        key = f"__main__.{thing.__qualname__}"
        if key in self.sources:
            return
        text = _source(thing)
        self.sources[key] = "" if text is None else hashlib.sha256(text.encode()).hexdigest()
        there = vars(sys.modules["__main__"])
        for name in _names(text or ""):
            value = there.get(name)
            if isinstance(value, ModuleType):
                self.add_root(value.__name__)
            elif isinstance(value, (type, FunctionType)):
                self._add_definition(value)
            elif isinstance(value, (bool, int, float, str)):
                self.sources[f"__main__.{name}"] = hashlib.sha256(repr(value).encode()).hexdigest()


def _is_installed(name: str, file: Path) -> bool:
    """Whether a module has a version rather than an author at work on it."""
    return name.partition(".")[0] in ("torch", "droplab") or is_installed(str(file))


def _file_of(name: str) -> Path | None:
    """The file of a module, found without importing anything; None if it has none."""
    found: Any = None
    if name in sys.modules:
        found = getattr(sys.modules[name], "__file__", None)
    elif name:
        place = None
        for end in [i for i, letter in enumerate(f"{name}.") if letter == "."]:
            try:
                spec = PathFinder.find_spec(name[:end], place)
            except (ImportError, ValueError):
                return None
            if spec is None:
                return None
            place, found = spec.submodule_search_locations, spec.origin
    path = Path(found).resolve() if isinstance(found, str) else None
    return path if path is not None and path.is_file() else None


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Yield the modules that a source may import, anywhere in it; some may be no modules."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except (ImportError, ValueError):
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _names(text: str) -> list[str]:
    try:
        tree = ast.parse(textwrap.dedent(text))
    except (SyntaxError, ValueError, RecursionError):
        return []
    return sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})


def _source(thing: Any) -> str | None:
    """The source of a function or class; None where there is none to look at."""
    try:
        if getattr(thing, "__name__", "") != "<lambda>":
            return inspect.getsource(thing)
        # the lines of a lambda hold the call it stands in: only the expression itself counts
        text = "".join(inspect.findsource(thing)[0])
        line = thing.__code__.co_firstlineno
        nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Lambda)]
        found = [ast.get_source_segment(text, n) or "" for n in nodes if n.lineno == line]
        return "\n".join(found) or None
    except (OSError, TypeError, SyntaxError, ValueError):
        pass
    if isinstance(thing, type):  # some interpreters find the methods of a notebook's class alone
        methods = [_source(each) for each in vars(thing).values() if inspect.isfunction(each)]
        return "\n".join(text for text in methods if text) or None
    return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None
