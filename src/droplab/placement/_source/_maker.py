"""Which layer of torch an expression makes: by itself, or by a helper in the same file."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
from libcst import matchers

from droplab.placement._source._file import SourceFile

TORCH_NN = "torch.nn."

_DEPTH = 6


def torch_layer(full_name: str) -> str:
    """Return "Linear" for "torch.nn.Linear", "" for what is not torch's."""
    return full_name.rpartition(".")[2] if full_name.startswith(TORCH_NN) else ""


def layer_of(
    source: SourceFile,
    value: cst.BaseExpression,
    methods: Mapping[str, cst.FunctionDef] | None = None,
    depth: int = 0,
) -> str:
    """Return the torch class that an expression makes ("Linear"), "None" for None, "" if none.

    Looked through are functions and methods of the same file that return such an expression,
    `partial`, other names, subclasses, and a dropout that is left out under a condition.

    Args:
        source: The file.
        value: The expression.
        methods: The methods of the class that it stands in.
        depth: How many helpers were looked through.
    """
    if isinstance(value, cst.Name) and value.value == "None":
        return "None"
    if isinstance(value, cst.IfExp):
        both = {layer_of(source, each, methods, depth) for each in (value.body, value.orelse)}
        named = both - {"Identity", "None"}
        return named.pop() if len(named) == 1 and all("Dropout" in each for each in named) else ""
    if not isinstance(value, cst.Call) or depth > _DEPTH:
        return ""
    return _class_of(source, value.func, methods, depth)


def _class_of(
    source: SourceFile,
    func: cst.BaseExpression,
    methods: Mapping[str, cst.FunctionDef] | None,
    depth: int,
) -> str:
    if depth > _DEPTH:
        return ""
    full = source.full_name(func)
    if torch_layer(full):
        return torch_layer(full)
    helper = factory(source, func, methods)
    if helper is not None:
        made = {layer_of(source, each, methods, depth + 1) for each in returned(helper)}
        return made.pop() if len(made) == 1 else ""
    classes = source.classes().get(full, [])
    if len(classes) == 1:
        of = [_class_of(source, base.value, None, depth + 1) for base in classes[0].bases]
        return next((layer for layer in of if layer not in ("", "Module", "Sequential")), "")
    if isinstance(func, cst.Name) and "<locals>" in full:
        made = {_class_of(source, each, None, depth + 1) for each in _local(source, func)} - {""}
        return made.pop() if len(made) == 1 else ""
    named = source.assigned(full)
    if isinstance(named, cst.Call) and source.full_name(named.func) == "functools.partial":
        return _class_of(source, named.args[0].value, None, depth + 1) if named.args else ""
    return _class_of(source, named, None, depth + 1) if named is not None else ""


def _local(source: SourceFile, name: cst.Name) -> list[cst.BaseExpression]:
    """Return what an argument or a variable of the function around may be.

    That is the default of an argument, and what it is set to: `norm_layer=nn.BatchNorm2d`, or
    `if norm_layer is None: norm_layer = nn.BatchNorm2d`.
    """
    node: cst.CSTNode | None = name
    while node is not None and not isinstance(node, cst.FunctionDef):
        node = source.parent(node)
    if node is None:
        return []
    params = (*node.params.posonly_params, *node.params.params, *node.params.kwonly_params)
    found = [each.default for each in params if each.name.value == name.value and each.default]
    reader = _Assigned(name.value)
    node.body.visit(reader)
    values = [
        value.right if isinstance(value, cst.BooleanOperation) else value
        for value in (*found, *reader.found)
    ]
    return [value for value in values if source.full_name(value) != source.full_name(name)]


class _Assigned(cst.CSTVisitor):
    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[cst.BaseExpression] = []

    def visit_Assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            if isinstance(target.target, cst.Name) and target.target.value == self.name:
                self.found.append(node.value)


def factory(
    source: SourceFile,
    func: cst.BaseExpression,
    methods: Mapping[str, cst.FunctionDef] | None,
) -> cst.FunctionDef | None:
    """Return the function of the file, or the method of the class, that an expression names."""
    if isinstance(func, cst.Attribute) and isinstance(func.value, cst.Name):
        if func.value.value in ("self", "cls"):
            return (methods or {}).get(func.attr.value)
        return None
    return source.functions().get(source.full_name(func))


def model_of(source: SourceFile, name: str) -> tuple[cst.ClassDef | cst.Call, str] | None:
    """Return the class, or the Sequential, that a function or a variable of the file is made of.

    Args:
        source: The file.
        name: What stands at its top: `model = Net(8)`, `def make(): return nn.Sequential(...)`, or
            a function that gives this a name, does nothing else with it, and returns it.
    """
    function = source.functions().get(name)
    made = [source.assigned(name)] if function is None else returned(function)
    only = made[0] if len(made) == 1 else None
    if function is not None and isinstance(only, cst.Name):
        only = _only_value(function, only.value)
    if not isinstance(only, cst.Call):
        return None
    full = source.full_name(only.func)
    if full == f"{TORCH_NN}Sequential":
        return only, name
    classes = source.classes().get(full, [])
    return (classes[0], full) if len(classes) == 1 else None


def _only_value(function: cst.FunctionDef, name: str) -> cst.BaseExpression | None:
    """Return what a function sets a name to that it mentions twice: there, and to return it."""
    if len(matchers.findall(function, matchers.Name(name))) != 2:
        return None
    target = matchers.AssignTarget(matchers.Name(name))
    found = matchers.findall(function.body, matchers.Assign([target]))
    return cst.ensure_type(found[0], cst.Assign).value if found else None


def returned(function: cst.FunctionDef) -> list[cst.BaseExpression]:
    """Return what a function returns."""
    reader = _Returns()
    function.body.visit(reader)
    return reader.found


class _Returns(cst.CSTVisitor):
    def __init__(self) -> None:
        self.found: list[cst.BaseExpression] = []

    def visit_Return(self, node: cst.Return) -> None:
        self.found.append(node.value or cst.Name("None"))

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False
