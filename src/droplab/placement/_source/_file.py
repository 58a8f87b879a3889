"""A parsed source file, with positions, parents and the names that its imports give."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import libcst as cst
from libcst import metadata as meta

from droplab.errors import PlacementError, nearest
from droplab.limits import SYNTAX_DEPTH


class SourceFile:
    """A file that is read once and never written here.

    Args:
        path: The file.

    Raises:
        PlacementError: If it cannot be read, or is no Python.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise PlacementError(
                f"{path}: expected a Python file, got: {error.strerror or error}"
            ) from None
        _check_depth(path, self.data)
        try:
            wrapper, self.text = _parsed(self.data)
        except (cst.ParserSyntaxError, SyntaxError, UnicodeDecodeError, LookupError) as error:
            raise _not_python(path, self.data, error) from None
        self.module = wrapper.module
        self._positions = wrapper.resolve(meta.PositionProvider)
        self._parents = wrapper.resolve(meta.ParentNodeProvider)
        self._names = wrapper.resolve(meta.QualifiedNameProvider)

    def line(self, node: cst.CSTNode) -> int:
        """Return the line a node begins on."""
        return self._positions[node].start.line

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node."""
        return self._parents.get(node)

    def code(self, node: cst.CSTNode) -> str:
        """Return a node as text."""
        return self.module.code_for_node(node)

    def full_name(self, node: cst.CSTNode) -> str:
        """Return the dotted name that an expression means by this file's imports, or ""."""
        found = self._names.get(node, ())
        names = [item.name for item in (found() if callable(found) else found)]
        return names[0] if names else ""

    def refuse(self, node: cst.CSTNode | int, reason: str) -> PlacementError:
        """Return an error that names file and line."""
        line = node if isinstance(node, int) else self.line(node)
        return PlacementError(f"{self.path}:{line}: {reason}")

    def classes(self) -> dict[str, list[cst.ClassDef]]:
        """Return the classes of the file by name, nested ones as "Outer.Inner"."""
        reader = _Classes()
        self.module.visit(reader)
        return reader.found

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
def _parsed(data: bytes) -> tuple[meta.MetadataWrapper, str]:
    """Return a module and its text; run after run has models of one file, a second's reading."""
    wrapper = meta.MetadataWrapper(cst.parse_module(data), unsafe_skip_copy=True)
    return wrapper, wrapper.module.code


def _check_depth(path: Path, data: bytes) -> None:
    """Refuse what LibCST, which goes down by recursion in its parser, would crash on."""
    too_deep = PlacementError(f"{path}: expected Python of usual depth, got code nested too deeply")
    try:
        level: list[ast.AST] = [ast.parse(data)]
    except (SyntaxError, ValueError) as error:
        raise _not_python(path, data, error) from None
    except (RecursionError, MemoryError):
        raise too_deep from None
    for _ in range(SYNTAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise too_deep


def _not_python(path: Path, data: bytes, error: Exception) -> PlacementError:
    try:
        ast.parse(data)  # Python's own words are clearer than LibCST's
    except SyntaxError as own:
        return PlacementError(f"{path}:{own.lineno or 1}: expected Python, got: {own.msg}")
    except ValueError as own:
        return PlacementError(f"{path}: expected Python, got: {own}")
    return PlacementError(f"{path}: expected Python that LibCST can read, got: {error}")


class _Classes(cst.CSTVisitor):
    def __init__(self) -> None:
        self.path: list[str] = []
        self.found: dict[str, list[cst.ClassDef]] = {}

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.path.append(node.name.value)
        self.found.setdefault(".".join(self.path), []).append(node)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self.path.pop()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False  # a class inside a function cannot be named from outside
