"""The whole way from a file, a class and rates to a checked diff."""

from __future__ import annotations

import ast
import difflib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droplab.errors import PlacementError
from droplab.placement._layers import Kind
from droplab.placement._plan import kind_of
from droplab.placement._select import Choice, choose
from droplab.placement._source._edits import Editor, SourceEdit
from droplab.placement._source._explain import explain
from droplab.placement._source._file import SourceFile
from droplab.placement._source._flow import after_selu, element_after_selu
from droplab.placement._source._maker import model_of
from droplab.placement._source._origin import left_out
from droplab.placement._source._outline import filled_in
from droplab.placement._source._places import Place, as_sites, layer_class, places
from droplab.placement._source._rewrite import Rewrite
from droplab.placement._source._view import ClassView


@dataclass(frozen=True)
class SourcePatch:
    """A change of one file that has not been written yet.

    Args:
        path: The file.
        class_name: The class.
        before: Its bytes as they were read.
        after: Its bytes with the change.
        edits: What is done, by site.
        notes: What to know before writing it.
    """

    path: Path
    class_name: str
    before: bytes
    after: bytes
    edits: tuple[SourceEdit, ...]
    notes: tuple[str, ...]
    encoding: str = "utf-8"

    @property
    def diff(self) -> str:
        """The change as a unified diff, empty if there is none."""
        name = self.path.as_posix().lstrip("/")
        before = self.before.decode(self.encoding).splitlines(keepends=True)
        after = self.after.decode(self.encoding).splitlines(keepends=True)
        lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
        ended = (
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )
        return "".join(ended)

    def write(self) -> None:
        """Write the changed file in one step.

        Raises:
            PlacementError: If the file has changed since it was read, or cannot be written.
        """
        try:
            if self.path.read_bytes() != self.before:
                raise PlacementError(
                    f"{self.path}: expected the file as it was read, got another; run again"
                )
            target = self.path.resolve()
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(self.after)
                Path(name).chmod(target.stat().st_mode)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise PlacementError(f"{self.path}: cannot be written: {error.strerror}") from None


def make_patch(
    path: Path,
    class_name: str,
    rates: Mapping[Any, Any],
    kind: str | Mapping[Any, str] | None,
    *,
    keep_names: bool,
) -> SourcePatch:
    """Return the change that adds dropout to a class in a file, as `patch_file` says."""
    source = SourceFile(path, class_name)
    made = None if class_name in source.classes() else model_of(source, class_name)
    function = source.functions().get(class_name)
    if made is None and function is not None:
        raise source.refuse(
            function,
            f"expected '{class_name}' to return a class or a Sequential of this file, as in "
            "return nn.Sequential(...), got another way to make one; name the class that holds the "
            "layers, or write the dropout in by hand",
        )
    node, class_name = made or (source.find_class(class_name), class_name)
    view = ClassView(source, node, class_name)
    found = places(view)
    _check_names(view, rates, found)
    editor = Editor(view, keep_names=keep_names)
    for choice, chosen_kind in _choices(view, found, rates, kind):
        editor.place(found[choice.site.name], choice.p, chosen_kind)
    editor.finish()
    module = source.module.visit(Rewrite(editor.changes)) if editor.changes else source.module
    after = filled_in(module.bytes, source.data)
    _check_parses(path, after)
    return SourcePatch(
        path,
        class_name,
        source.data,
        after,
        tuple(editor.edits),
        tuple(editor.notes),
        source.module.encoding,
    )


def _check_names(view: ClassView, rates: Mapping[Any, Any], found: dict[str, Place]) -> None:
    for name in rates:
        plain = isinstance(name, str) and not any(mark in name for mark in "*?[:")
        if plain and name not in found:
            raise explain(view, name, found, rates[name])


def _choices(
    view: ClassView,
    found: dict[str, Place],
    rates: Mapping[Any, Any],
    kind: str | Mapping[Any, str] | None,
) -> list[tuple[Choice, Kind]]:
    selu = {name for name, place in found.items() if _after_selu(view, place)}
    sites = as_sites(found, selu, *left_out(view, found))
    bases = {name: (layer_class(p.layer) or object).__mro__ for name, p in found.items()}
    try:
        chosen = choose(sites, rates, bases)
        return [(choice, kind_of(choice.site, kind, bases)[0]) for choice in chosen]
    except PlacementError as error:
        line = view.source.line(view.node)
        raise PlacementError(f"{view.source.path}:{line}: class {view.name}: {error}") from None


def _after_selu(view: ClassView, place: Place) -> bool:
    if place.literal is not None:
        values = [item.value for item in place.literal.items[: place.index]]
        return element_after_selu(view, values)
    calls = [call for call, _ in view.calls(place.attribute)]
    return bool(calls) and all(
        bool(call.args) and after_selu(view, call.args[0].value) for call in calls
    )


def _check_parses(path: Path, after: bytes) -> None:
    try:
        ast.parse(after)
    except SyntaxError as error:
        raise PlacementError(
            f"{path}:{error.lineno}: the change would not parse ({error.msg}); nothing was "
            "written, please report this with the file"
        ) from None
