"""What one class does with its attributes: where it makes them and how it uses them."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from droplab.placement._source import _maker as maker
from droplab.placement._source._file import SourceFile


@dataclass(frozen=True)
class Creation:
    """One statement `self.name = value`.

    Args:
        name: The attribute.
        value: The expression on the right.
        statement: The line, None if it shares it with an `if` or a `def`.
        made_by: Full name of what is called on the right, "" if it is no call.
    """

    name: str
    value: cst.BaseExpression
    statement: cst.SimpleStatementLine | None
    made_by: str


@dataclass(frozen=True)
class Use:
    """One mention of `self.name` that is not its creation."""

    name: str
    node: cst.Attribute
    me: str


class ClassView:
    """The attributes of a class, as its own methods see them.

    Args:
        source: The file.
        node: The class; or the call that makes a Sequential at the top of the file, which has no
            attributes.
        name: What that is called.
    """

    def __init__(self, source: SourceFile, node: cst.ClassDef | cst.Call, name: str = "") -> None:
        self.source = source
        self.node = node
        self.name = node.name.value if isinstance(node, cst.ClassDef) else name
        reader = _Reader(source, node)
        if isinstance(node, cst.ClassDef):
            node.visit(reader)
        self.creations = reader.creations
        self.uses = reader.uses
        self.methods = reader.methods

    def calls(self, name: str) -> list[tuple[cst.Call, Use]]:
        """Return the calls `self.name(...)`."""
        found: list[tuple[cst.Call, Use]] = []
        for use in self.uses.get(name, ()):
            parent = self.source.parent(use.node)
            if isinstance(parent, cst.Call) and parent.func is use.node:
                found.append((parent, use))
        return found

    def layer(self, name: str) -> str:
        """Return the torch class that makes an attribute ("Linear"), "" if it is another.

        A dropout that is left out under a condition is that dropout.
        """
        creations = self.creations.get(name, ())
        made = {self.made(each.value) for each in creations}
        dropout = {layer for layer in made if layer.endswith("Dropout") or "Dropout" in layer}
        if dropout and all(layer in ("Identity", "None") for layer in made - dropout):
            made = dropout
        return made.pop().removeprefix("None") if len(made) == 1 else ""

    def made(self, value: cst.BaseExpression) -> str:
        """Return the torch class that an expression in this class makes, "" if none."""
        return maker.layer_of(self.source, value, self.methods)

    def own(self, func: cst.BaseExpression) -> str:
        """Return the attribute that `self.name` means, "" for anything else."""
        if not isinstance(func, cst.Attribute):
            return ""
        uses = self.uses.get(func.attr.value, ())
        return func.attr.value if any(use.node is func for use in uses) else ""

    def argument(self, name: cst.Name) -> tuple[str, int]:
        """Return which method has a name for an argument, and where; ("", 0) if none has."""
        node: cst.CSTNode | None = name
        while node is not None and node not in self.methods.values():
            node = self.source.parent(node)
        if not isinstance(node, cst.FunctionDef):
            return "", 0
        params = (*node.params.posonly_params, *node.params.params)[1:]
        at = [i for i, param in enumerate(params) if param.name.value == name.value]
        return (node.name.value, at[0]) if at else ("", 0)

    def is_part(self) -> bool:
        """Whether another class of the file makes this one, so that its input is not a model's."""
        reader = _Makes(self.source, self.name)
        for classes in self.source.classes().values():
            for node in classes:
                if node is not self.node:
                    node.body.visit(reader)
        return reader.found

    def bases(self) -> list[str]:
        """Return the full names of the base classes."""
        return [
            self.source.full_name(arg.value) or self.source.code(arg.value)
            for arg in (self.node.bases if isinstance(self.node, cst.ClassDef) else ())
        ]


class _Makes(cst.CSTVisitor):
    def __init__(self, source: SourceFile, name: str) -> None:
        self.source = source
        self.name = name
        self.found = False

    def visit_Call(self, node: cst.Call) -> None:
        self.found = self.found or self.source.full_name(node.func) == self.name


class _Reader(cst.CSTVisitor):
    def __init__(self, source: SourceFile, target: cst.CSTNode) -> None:
        self.source = source
        self.target = target
        self.creations: dict[str, list[Creation]] = {}
        self.uses: dict[str, list[Use]] = {}
        self.methods: dict[str, cst.FunctionDef] = {}
        self.depth = 0
        self.me = ""

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        return node is self.target

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        if self.depth == 0:
            self.methods[node.name.value] = node
            first = [*node.params.posonly_params, *node.params.params][:1]
            self.me = first[0].name.value if first else ""
        self.depth += 1

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.me = ""

    def visit_Assign(self, node: cst.Assign) -> None:
        if len(node.targets) != 1:
            return
        target, value = node.targets[0].target, node.value
        if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple):
            for one, other in zip(target.elements, value.elements, strict=False):
                self._created(one.value, other.value, node)
        else:
            self._created(target, value, node)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self._created(node.target, node.value, node)

    def _created(self, target: cst.CSTNode, value: cst.BaseExpression, small: cst.CSTNode) -> None:
        if not self._is_own(target):
            return
        assert isinstance(target, cst.Attribute)
        line = self.source.parent(small)
        made_by = self.source.full_name(value.func) if isinstance(value, cst.Call) else ""
        creation = Creation(
            target.attr.value,
            value,
            line if isinstance(line, cst.SimpleStatementLine) else None,
            made_by,
        )
        self.creations.setdefault(creation.name, []).append(creation)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        if not self._is_own(node):
            return
        parent = self.source.parent(node)
        if isinstance(parent, cst.AnnAssign) and parent.target is node:
            return
        if isinstance(parent, cst.Element):  # self.a, self.b = ...
            around = self.source.parent(parent)
            parent = around if around is None else self.source.parent(around)
        if isinstance(parent, cst.AssignTarget) and self._is_only_target(parent):
            return
        name = node.attr.value
        self.uses.setdefault(name, []).append(Use(name, node, self.me))

    def _is_only_target(self, target: cst.AssignTarget) -> bool:
        assign = self.source.parent(target)
        return isinstance(assign, cst.Assign) and len(assign.targets) == 1

    def _is_own(self, node: cst.CSTNode) -> bool:
        return (
            isinstance(node, cst.Attribute)
            and isinstance(node.value, cst.Name)
            and bool(self.me)
            and node.value.value == self.me
        )
