"""What one class does with its attributes: where it makes them and how it uses them."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from droplab.placement._source._file import SourceFile

TORCH_NN = "torch.nn."


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
        node: The class.
    """

    def __init__(self, source: SourceFile, node: cst.ClassDef) -> None:
        self.source = source
        self.node = node
        self.name = node.name.value
        reader = _Reader(source, node)
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
        """Return the torch class that makes an attribute ("Linear"), "" if it is another."""
        made = {creation.made_by for creation in self.creations.get(name, ())}
        return torch_layer(made.pop()) if len(made) == 1 else ""

    def bases(self) -> list[str]:
        """Return the full names of the base classes."""
        return [
            self.source.full_name(arg.value) or self.source.code(arg.value)
            for arg in self.node.bases
        ]


def torch_layer(full_name: str) -> str:
    """Return "Linear" for "torch.nn.Linear", "" for what is not torch's."""
    return full_name.rpartition(".")[2] if full_name.startswith(TORCH_NN) else ""


class _Reader(cst.CSTVisitor):
    def __init__(self, source: SourceFile, target: cst.ClassDef) -> None:
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
        if len(node.targets) == 1:
            self._created(node.targets[0].target, node.value, node)

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
