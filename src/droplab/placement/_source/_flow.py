"""What stands in front of a layer in the source: dropout that is there already, or a SELU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from droplab.placement._source._maker import layer_of
from droplab.placement._source._view import ClassView

_FUNCTIONAL = "torch.nn.functional."
_DROPOUT_FUNCTIONS = frozenset(
    {
        *(
            f"{_FUNCTIONAL}{name}"
            for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
        ),
        f"{_FUNCTIONAL}feature_alpha_dropout",
        "torch.dropout",
        "torch.alpha_dropout",
    }
)
_DROPOUT_LAYERS = frozenset(
    {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}
)
_SEEN_THROUGH_LAYERS = frozenset({"ReLU", "Identity", "Flatten", "Unflatten"})
"""Dropout before one of these is the same as dropout after it."""

_SEEN_THROUGH = frozenset({"relu", "flatten", "reshape", "view", "squeeze", "unsqueeze"})


@dataclass(frozen=True)
class Existing:
    """Dropout that drops a site's input already.

    Args:
        call: Where the dropping happens: `self.drop(...)`, `F.dropout(...)`, or in a Sequential
            the element `nn.Dropout(...)`.
        attribute: The attribute that holds the module, "" for functions and elements.
        at: Position of the rate among the arguments.
    """

    call: cst.Call
    attribute: str
    at: int


def existing_dropout(view: ClassView, value: cst.BaseExpression) -> Existing | None:
    """Return the dropout that makes an argument, looking through what commutes with it."""
    for call in _makers(view, value):
        attribute = _own_attribute(view, call)
        if view.layer(attribute) in _DROPOUT_LAYERS:
            return Existing(call, attribute, 0)
        if view.source.full_name(call.func) in _DROPOUT_FUNCTIONS:
            return Existing(call, "", 1)
        if _seen_through(view, call, attribute) is None:
            return None
    return None


def after_selu(view: ClassView, value: cst.BaseExpression) -> bool:
    """Say whether an argument is the output of a SELU."""
    for call in _makers(view, value):
        attribute = _own_attribute(view, call)
        name = view.source.full_name(call.func).rpartition(".")[2]
        if view.layer(attribute) == "SELU" or name == "selu":
            return True
        if view.layer(attribute) in _DROPOUT_LAYERS or (
            view.source.full_name(call.func) in _DROPOUT_FUNCTIONS
        ):
            continue
        if name == "relu" or _seen_through(view, call, attribute) is None:
            return False
    return False


def element_dropout(view: ClassView, before: list[cst.BaseExpression]) -> Existing | None:
    """Return the dropout among the elements before a site, looking through what commutes."""
    for value in reversed(before):
        if not isinstance(value, cst.Call):
            return None
        layer = layer_of(view.source, value, view.methods)
        if layer in _DROPOUT_LAYERS:
            return Existing(value, "", 0)
        if layer not in _SEEN_THROUGH_LAYERS:
            return None
    return None


def element_after_selu(view: ClassView, before: list[cst.BaseExpression]) -> bool:
    """Say whether the element before a site is a SELU, looking through dropout."""
    for value in reversed(before):
        if not isinstance(value, cst.Call):
            return False
        layer = layer_of(view.source, value, view.methods)
        if layer == "SELU":
            return True
        if layer not in _DROPOUT_LAYERS | {"Identity", "Flatten"}:
            return False
    return False


def _makers(view: ClassView, value: cst.BaseExpression) -> Iterator[cst.Call]:
    """Return the call that makes a value, the call that makes its argument, and so on."""
    for _ in range(100):
        if isinstance(value, cst.Name):
            assigned = _last_assigned(view, value)
            if assigned is None:
                return
            value = assigned
        if isinstance(value, cst.IfExp) and _drops(view, value.body):
            value = value.body
        if not isinstance(value, cst.Call):
            return
        yield value
        attribute = _own_attribute(view, value)
        through = _seen_through(view, value, attribute)
        if through is None:
            through = value.args[0].value if value.args else None  # after_selu skips dropout
        if through is None:
            return
        value = through


def _own_attribute(view: ClassView, call: cst.Call) -> str:
    for uses in view.uses.values():
        for use in uses:
            if use.node is call.func:
                return use.name
    return ""


def _seen_through(view: ClassView, call: cst.Call, attribute: str) -> cst.BaseExpression | None:
    """Return what goes into a call that commutes with dropout, None if it does not."""
    if attribute:
        known = view.layer(attribute) in _SEEN_THROUGH_LAYERS
        return call.args[0].value if known and call.args else None
    name = view.source.full_name(call.func)
    if name.startswith("torch.") and name.rpartition(".")[2] in _SEEN_THROUGH:
        return call.args[0].value if call.args else None
    if isinstance(call.func, cst.Attribute) and call.func.attr.value in _SEEN_THROUGH:
        return call.func.value
    return None


def _last_assigned(view: ClassView, name: cst.Name) -> cst.BaseExpression | None:
    """Return what a variable was last set to, if that is in the same straight run of lines."""
    return assigned_before(view, name)[0]


def assigned_before(view: ClassView, name: cst.Name) -> tuple[cst.BaseExpression | None, bool]:
    """Return what a variable was last set to in the run of lines, and whether it was set at all.

    A dropout that is called under a condition (`if self.drop is not None: x = self.drop(x)`) is
    what it was set to.
    """
    node: cst.CSTNode | None = name
    while node is not None and not isinstance(node, cst.SimpleStatementLine | cst.If):
        if isinstance(node, cst.FunctionDef | cst.Lambda | cst.CompFor):
            return None, True
        node = view.source.parent(node)
    outside = False
    while node is not None:
        block = view.source.parent(node)
        if isinstance(block, cst.IndentedBlock):
            at = next(i for i, line in enumerate(block.body) if line is node)
            for line in reversed(block.body[:at]):
                if _binds(line, name.value):
                    value = _set_to(view, line, name.value)
                    return (None if outside else value), True
        if isinstance(block, cst.FunctionDef):
            return None, False
        outside = outside or isinstance(block, cst.IndentedBlock)
        node = block
    return None, True


def _set_to(view: ClassView, line: cst.CSTNode, name: str) -> cst.BaseExpression | None:
    if isinstance(line, cst.If) and line.orelse is None and len(line.body.body) == 1:
        value = _set_to(view, line.body.body[0], name)
        return value if value is not None and _drops(view, value) else None
    if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
        small = line.body[0]
        if (
            isinstance(small, cst.Assign)
            and len(small.targets) == 1
            and isinstance(small.targets[0].target, cst.Name)
        ):
            return small.value
    return None


def _drops(view: ClassView, value: cst.BaseExpression) -> bool:
    """Whether an expression is the call of a dropout."""
    if not isinstance(value, cst.Call):
        return False
    return view.layer(_own_attribute(view, value)) in _DROPOUT_LAYERS or (
        view.source.full_name(value.func) in _DROPOUT_FUNCTIONS
    )


def _binds(line: cst.CSTNode, name: str) -> bool:
    finder = _Binding(name)
    line.visit(finder)
    return finder.found


class _Binding(cst.CSTVisitor):
    def __init__(self, name: str) -> None:
        self.name = name
        self.found = False

    def _check(self, target: cst.CSTNode) -> None:
        if isinstance(target, cst.Name) and target.value == self.name:
            self.found = True
        if isinstance(target, cst.Tuple | cst.List):
            for element in target.elements:
                self._check(element.value)

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self._check(node.target)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self._check(node.target)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        self._check(node.target)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._check(node.target)

    def visit_For(self, node: cst.For) -> None:
        self._check(node.target)

    def visit_AsName(self, node: cst.AsName) -> None:
        self._check(node.name)
