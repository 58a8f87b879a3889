"""A parsed source file, with positions, parents and the names that its imports give."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

import libcst as cst
from libcst import metadata as meta

from droplab.errors import PlacementError, nearest
from droplab.limits import SYNTAX_DEPTH
from droplab.placement._source._outline import outline


class SourceFile:
    """A file that is read once and never written here.

    Args:
        path: The file.
        name: The class, function or variable in it that is asked for.

    Raises:
        PlacementError: If it cannot be read, or is no Python.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise PlacementError(
                f"{path}: expected a Python file, got: {error.strerror or error}"
            ) from None
        tree = _parsed_by_python(path, self.data)
        try:
            self._tree = _parsed(outline(self.data, tree, name.partition(".")[0]))
            self.module = self._tree.module
            self.text = self.data.decode(self.module.encoding)
        except (cst.ParserSyntaxError, SyntaxError, UnicodeDecodeError, LookupError) as error:
            raise _not_python(path, self.data, error) from None

    def line(self, node: cst.CSTNode) -> int:
        """Return the line a node begins on."""
        return self._tree.positions[node].start.line

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node."""
        return self._tree.parents.get(node)

    def code(self, node: cst.CSTNode) -> str:
        """Return a node as text."""
        return self.module.code_for_node(node)

    def full_name(self, node: cst.CSTNode) -> str:
        """Return the dotted name that an expression means by this file's imports, or ""."""
        scope = self._tree.scopes.get(node)
        names = () if scope is None else scope.get_qualified_names_for(node)
        return next((item.name for item in names), "")

    def refuse(self, node: cst.CSTNode | int, reason: str) -> PlacementError:
        """Return an error that names file and line."""
        line = node if isinstance(node, int) else self.line(node)
        return PlacementError(f"{self.path}:{line}: {reason}")

    def classes(self) -> dict[str, list[cst.ClassDef]]:
        """Return the classes of the file by name, nested ones as "Outer.Inner"."""
        return self._tree.classes

    def functions(self) -> dict[str, cst.FunctionDef]:
        """Return the functions that stand at the top of the file."""
        found = [node for node in self.module.body if isinstance(node, cst.FunctionDef)]
        return {node.name.value: node for node in found}

    def assigned(self, name: str) -> cst.BaseExpression | None:
        """Return what a name is set to at the top of the file, if that is done once."""
        values = [
            small.value
            for line in self.module.body
            if isinstance(line, cst.SimpleStatementLine)
            for small in line.body
            if isinstance(small, cst.Assign)
            for target in small.targets
            if isinstance(target.target, cst.Name) and target.target.value == name
        ]
        return values[0] if len(values) == 1 else None

    def find_class(self, name: str) -> cst.ClassDef:
        """Return the one class of that name.

        Raises:
            PlacementError: If there is none, or more than one.
        """
        classes = self.classes()
        found = classes.get(name, [])
        if not found:
            raise PlacementError(
                f"{self.path}: expected a class '{name}', got none of that name"
                f"{nearest(name, classes)}"
            )
        if len(found) > 1:
            lines = " and ".join(str(self.line(node)) for node in found)
            raise self.refuse(
                found[1], f"the class '{name}' is defined more than once, in lines {lines}"
            )
        return found[0]


@lru_cache(maxsize=1)
def _parsed(data: bytes) -> _Tree:
    """Return a parsed outline; run after run has models of one file, a second's reading."""
    return _Tree(data)


class _Tree:
    """A parsed file, and what is read off all of it: once, and only if it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._wrapper = meta.MetadataWrapper(cst.parse_module(data), unsafe_skip_copy=True)
        self.module = self._wrapper.module

    @cached_property
    def positions(self) -> Mapping[cst.CSTNode, meta.CodeRange]:
        """Where each node stands."""
        return self._wrapper.resolve(meta.PositionProvider)

    @cached_property
    def scopes(self) -> Mapping[cst.CSTNode, meta.Scope | None]:
        """The scope in which each name is looked up."""
        return self._wrapper.resolve(meta.ScopeProvider)

    @cached_property
    def parents(self) -> dict[cst.CSTNode, cst.CSTNode]:
        """The node around each node."""
        reader = _Parents()
        self.module.visit(reader)
        return reader.found

    @cached_property
    def classes(self) -> dict[str, list[cst.ClassDef]]:
        """The classes by name; one inside a function cannot be named from outside."""
        found: dict[str, list[cst.ClassDef]] = {}
        for node in self.parents:
            if isinstance(node, cst.ClassDef):
                around = [*self._around(node)]
                if not any(isinstance(each, cst.FunctionDef) for each in around):
                    names = [each.name.value for each in around if isinstance(each, cst.ClassDef)]
                    found.setdefault(".".join([*reversed(names), node.name.value]), []).append(node)
        return found

    def _around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        above = self.parents.get(node)
        while above is not None:
            yield above
            above = self.parents.get(above)


def _parsed_by_python(path: Path, data: bytes) -> ast.Module:
    """Parse what LibCST, which goes down by recursion in its parser, would not crash on."""
    too_deep = PlacementError(f"{path}: expected Python of usual depth, got code nested too deeply")
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        raise _not_python(path, data, error) from None
    except (RecursionError, MemoryError):
        raise too_deep from None
    level: list[ast.AST] = [tree]
    for _ in range(SYNTAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise too_deep


def _not_python(path: Path, data: bytes, error: Exception) -> PlacementError:
    try:
        ast.parse(data)  # Python's own words are clearer than LibCST's
    except SyntaxError as own:
        return PlacementError(f"{path}:{own.lineno or 1}: expected Python, got: {own.msg}")
    except ValueError as own:
        return PlacementError(f"{path}: expected Python, got: {own}")
    return PlacementError(f"{path}: expected Python that LibCST can read, got: {error}")


class _Parents(cst.CSTVisitor):
    """Notes the parent of every node, in a third of the time of LibCST's own provider."""

    def __init__(self) -> None:
        self.found: dict[cst.CSTNode, cst.CSTNode] = {}
        self._path: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._path:
            self.found[node] = self._path[-1]
        self._path.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._path.pop()
