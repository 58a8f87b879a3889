"""One parsed source file, indexed once for all checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo
from droplab.doctor._finding import Code, Edit, Finding, Severity
from droplab.doctor._source import Source

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module


class Module:
    """A parsed file with what the checks ask of it: parents, names, classes, calls.

    Args:
        source: The text and where it came from.
        tree: Its syntax tree.
    """

    def __init__(self, source: Source, tree: ast.Module) -> None:
        self.source = source
        self.tree = tree
        self.parents: dict[ast.AST, ast.AST] = {}
        self.calls: list[ast.Call] = []
        self.functions: list[Function] = []
        self.loops: list[ast.For | ast.AsyncFor | ast.While] = []
        self.attributes: set[str] = set()
        self.read_attributes: set[str] = set()
        self.outside_reads: set[str] = set()
        self.imported: set[str] = set()
        self.assigned: dict[str, list[ast.Assign]] = {}
        self.strings: set[str] = set()
        self.cache: dict[str, Any] = {}
        self._class_nodes: list[ast.ClassDef] = []
        self._stores: list[ast.stmt] = []
        self._resolved: dict[ast.AST, str] = {}
        self._bound: dict[ast.AST, dict[str, str]] = {tree: {}}
        self.stars: list[str] = []
        self._shadowed: set[str] = set()
        self._index()

    def _index(self) -> None:
        # An explicit stack, in source order: a deep expression must not exhaust Python's own.
        # This loop runs once for every node of every file that matters; it is written for speed.
        stack: list[ast.AST] = [self.tree]
        parents = self.parents
        handlers = {
            ast.Call: self.calls.append,
            ast.FunctionDef: self.functions.append,
            ast.AsyncFunctionDef: self.functions.append,
            ast.ClassDef: self._class_nodes.append,
            ast.For: self.loops.append,
            ast.AsyncFor: self.loops.append,
            ast.While: self.loops.append,
            ast.Attribute: self._on_attribute,
            ast.Constant: self._on_constant,
            ast.Assign: self._on_assign,
            ast.AnnAssign: self._stores.append,
            ast.AugAssign: self._stores.append,
            ast.Import: self._bind,
            ast.ImportFrom: self._bind,
        }
        find = handlers.get
        while stack:
            node = stack.pop()
            handler = find(node.__class__)  # pyright: ignore[reportArgumentType, reportCallIssue]
            if handler is not None:
                handler(node)  # pyright: ignore[reportArgumentType]
            children: list[ast.AST] = []
            for name in node._fields:
                if name == "ctx" or name == "op":
                    # Contexts and operators are shared singletons without a parent of their own.
                    continue
                value = getattr(node, name, None)
                if value.__class__ is list:
                    for item in value:  # pyright: ignore[reportOptionalIterable]
                        if isinstance(item, ast.AST):
                            parents[item] = node
                            children.append(item)
                elif isinstance(value, ast.AST):
                    parents[value] = node
                    children.append(value)
            children.reverse()
            stack += children
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self._shadowed.add(statement.name)

    def _on_attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        if node.ctx.__class__ is ast.Load and not self.of_settings(node):
            self.read_attributes.add(node.attr)
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            # Imports come first in nearly every file, so modules are known by now.
            if owner != "self" and owner not in self._bound[self.tree]:
                self.outside_reads.add(node.attr)

    def _on_constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str) and len(value) < 60 and not self._names_setting(node):
            self.strings.add(value)

    def of_settings(self, node: ast.Attribute) -> bool:
        """Return whether an attribute is read from settings, as `config.dropout` is, not called."""
        if not _names.is_settings(node.value):
            return False
        above = self.parents.get(node)
        return not (isinstance(above, ast.Call) and above.func is node)

    def _names_setting(self, node: ast.Constant) -> bool:
        """Whether a string is a key of settings, as in config["x"] and getattr(args, "x")."""
        above = self.parents.get(node)
        if isinstance(above, ast.Subscript):
            return _names.is_settings(above.value)
        if not isinstance(above, ast.Call) or not above.args:
            return False
        function = above.func
        if isinstance(function, ast.Attribute) and function.attr in ("get", "pop", "setdefault"):
            return _names.is_settings(function.value)
        known = isinstance(function, ast.Name) and function.id in ("getattr", "hasattr")
        return known and _names.is_settings(above.args[0])

    def _on_assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.assigned.setdefault(target.id, []).append(node)
            elif isinstance(target, ast.Attribute):
                self._stores.append(node)

    def _bind(self, node: ast.Import | ast.ImportFrom) -> None:
        scope = self._bound.setdefault(self.scope(node), {})
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.name)
                if alias.asname:
                    scope[alias.asname] = alias.name
                else:
                    top = alias.name.partition(".")[0]
                    scope[top] = top
            return
        base = node.module or ""
        if node.level:
            package = self.source.package.split(".") if self.source.package else []
            if node.level - 1:
                package = package[: 1 - node.level]
            base = ".".join([*package, *([base] if base else [])])
        for alias in node.names:
            self.imported.add(f"{base}.{alias.name}")
            if alias.name == "*":
                self.stars.append(base)
            else:
                scope[alias.asname or alias.name] = f"{base}.{alias.name}"

    def bound(self, name: str) -> str:
        """Return the full name of what the file imports under a name, or ""."""
        return self._bound[self.tree].get(name, "")

    def scope(self, node: ast.AST) -> ast.AST:
        """Return the function, lambda or module whose names a node sees first."""
        above = self.parents.get(node)
        while above is not None and not isinstance(above, Scope):
            above = self.parents.get(above)
        return above or self.tree

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes around a node, from the inside out."""
        above = self.parents.get(node)
        while above is not None:
            yield above
            above = self.parents.get(above)

    def resolve(self, node: ast.AST) -> str:
        """Return the full dotted name of a name or attribute, or "" if it is not imported."""
        known = self._resolved.get(node)
        if known is None:
            known = self._resolved[node] = self._resolve(node)
        return known

    def _resolve(self, node: ast.AST) -> str:
        tail: list[str] = []
        while isinstance(node, ast.Attribute):
            tail.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        target = self._lookup(node)
        if not target:
            return ""
        return _names.canonical(".".join([target, *reversed(tail)]))

    def _lookup(self, node: ast.Name) -> str:
        if len(self._bound) > 1:
            for above in self.ancestors(node):
                found = self._bound.get(above, {}).get(node.id)
                if found:
                    return found
        found = self._bound[self.tree].get(node.id, "")
        if not found and node.id[:1].isupper() and node.id not in self._shadowed:
            for star in self.stars:
                if star in ("torch.nn", "torch.nn.modules"):
                    return f"torch.nn.{node.id}"
        return found

    def function(self, node: ast.AST) -> Function | None:
        """Return the innermost function around a node."""
        for above in self.ancestors(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                return above
        return None

    def method(self, node: ast.AST) -> tuple[ClassInfo, Function] | None:
        """Return the class and method around a node; nested functions count to their method."""
        inner: Function | None = None
        for above in self.ancestors(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = above
            elif isinstance(above, ast.ClassDef):
                return (self.class_of[above], inner) if inner is not None else None
        return None

    @cached_property
    def classes(self) -> list[ClassInfo]:
        """All classes of the file."""
        return list(self.class_of.values())

    def class_named(self, name: str) -> ClassInfo | None:
        """Return the last class of that name that stands in the file itself, not in a function."""
        found = [info for info in self.classes if info.name == name]
        return next((i for i in reversed(found) if self.parents.get(i.node) is self.tree), None)

    def class_at(self, name: str, node: ast.AST) -> ClassInfo | None:
        """Return the class of the file that a name stands for at a node.

        Of several of one name it is the last one, and in code of the file itself, outside any
        function, the last one above it.
        """
        found = self._classes_by_name.get(name)
        if found is None:
            return None
        if len(found) > 1 and self.function(node) is None:
            line = getattr(node, "lineno", 0)
            found = [info for info in found if info.node.lineno < line] or found
        return found[-1]

    @cached_property
    def _classes_by_name(self) -> dict[str, list[ClassInfo]]:
        table: dict[str, list[ClassInfo]] = {}
        for info in self.classes:
            table.setdefault(info.name, []).append(info)
        return table

    @cached_property
    def class_of(self) -> dict[ast.ClassDef, ClassInfo]:
        """Class facts by syntax node."""
        by_name: dict[str, ClassInfo] = {}
        result: dict[ast.ClassDef, ClassInfo] = {}
        for node in self._class_nodes:
            bases = [self.resolve(base) for base in node.bases]
            info = ClassInfo(node, bases, by_name, self._is_use)
            by_name[node.name] = result[node] = info
        for store in self._stores:
            self._store(store, result)
        return result

    def _is_use(self, node: ast.Attribute) -> bool:
        module = isinstance(node.value, ast.Name) and node.value.id in self._bound[self.tree]
        return not module and not self.of_settings(node)

    def _store(self, node: ast.stmt, classes: dict[ast.ClassDef, ClassInfo]) -> None:
        """Tell the class around an assignment what it keeps on self."""
        inner: Function | None = None
        for above in self.ancestors(node):
            if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = above
            elif isinstance(above, ast.ClassDef):
                if inner is not None:
                    classes[above].keep(node, inner)
                return

    def segment(self, node: ast.expr) -> str:
        """Return the source text of an expression."""
        start, end = self.source.span(node)
        return self.source.text[start:end]

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Return the offsets of an expression in the text."""
        return self.source.span(node)

    def finding(
        self,
        code: Code,
        node: ast.AST,
        message: str,
        advice: str,
        *,
        severity: Severity | None = None,
        edits: tuple[Edit, ...] = (),
        unsafe: bool = False,
        complete: bool = False,
    ) -> Finding:
        """Return a finding at a node; `unsafe` and `complete` are those of `Finding`."""
        at: Any = node
        line, column = self.source.position(at.lineno, at.col_offset)
        end_line, end_column = self.source.position(
            at.end_lineno or at.lineno, at.end_col_offset or 0
        )
        if isinstance(node, ast.stmt) and end_line != line and hasattr(node, "body"):
            # A compound statement is marked by its first line.
            end_line, end_column = line, len(self.source.line(line)) + 1
        return Finding(
            code.code,
            message,
            advice,
            severity or code.severity,
            path=self.source.path,
            line=self.source.cell_line(line),
            column=column,
            end_line=self.source.cell_line(end_line),
            end_column=end_column,
            source=self.source.line(line).strip(),
            cell=self.source.cell(line),
            edits=() if self.source.notebook else edits,
            unsafe=unsafe,
            complete=complete,
        )
