"""Is a piece of code tied to training mode?"""

from __future__ import annotations

import ast
import re

from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._elsewhere import lineage
from droplab.doctor._module import Module

_FLAG = re.compile(
    r"(?:^|_)(?:train(?:ing|able)?|is_train|eval(?:uat\w*)?|deterministic|switch|inference|sampl\w*|"
    r"mc|monte|stochastic|bayes\w*|uncertain\w*)(?:_|$)",
    re.IGNORECASE,
)
_CLASS = re.compile(
    r"mc_?drop|monte_?carlo|bayes|uncertain|stochastic|always|concrete|augment|corrupt|noise|noisy|"
    r"perturb|simcse|contrastive|^MC|MC$|sampler|pre_?net",
    re.IGNORECASE,
)
# A Tacotron prenet drops at synthesis too, by design: its variety comes from there.
_COMMENT = re.compile(
    r"#.*\b(?:eval|inference|always|deliberate\w*|monte|test time)\b", re.IGNORECASE
)
_FUNCTION = re.compile(
    _CLASS.pattern + r"|(?:^|_)(?:mc|mask|train|training|loss|pretrain)(?:_|$)|"
    r"drop_?(?:edge|node|feature|adj)",
    re.IGNORECASE,
)


def mentions_training(node: ast.AST) -> bool:
    """Return whether an expression reads a training flag, by the names in it."""
    for item in ast.walk(node):
        if isinstance(item, ast.Name) and _FLAG.search(item.id):
            return True
        if isinstance(item, ast.Attribute) and _FLAG.search(item.attr):
            return True
    return False


def gated(module: Module, node: ast.AST) -> bool:
    """Return whether a test of a training flag decides if a node runs.

    That is an `if` or a conditional expression around it, or an earlier `return` under such a test.
    """
    inner = node
    for above in module.ancestors(node):
        if isinstance(above, ast.If | ast.IfExp | ast.While):
            if inner is not above.test and mentions_training(above.test):
                return True
        elif isinstance(above, ast.BoolOp):
            if any(mentions_training(value) for value in above.values if value is not inner):
                return True
        elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            return _left_early(above, node)
        inner = above
    return False


def _left_early(function: Function, node: ast.AST) -> bool:
    line = getattr(node, "lineno", 0)
    for statement in ast.walk(function):
        if (
            isinstance(statement, ast.If)
            and statement.lineno < line
            and mentions_training(statement.test)
            and any(isinstance(item, ast.Return) for item in statement.body)
        ):
            return True
    return False


def deliberate(module: Module, node: ast.AST) -> bool:
    """Return whether the names around a node say that randomness in eval mode is meant.

    Monte Carlo dropout, data augmentation, loss functions and training steps are; so is a call with
    a comment that speaks of eval mode, in its line or just above it.
    """
    line = getattr(node, "lineno", 0)
    if any(_COMMENT.search(module.source.line(at)) for at in range(max(line - 2, 1), line + 1)):
        return True
    for above in module.ancestors(node):
        if isinstance(above, ast.ClassDef) and _CLASS.search(above.name):
            return True
        function = isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef)
        if function and _FUNCTION.search(above.name):
            return True
    return False


def parameters(function: Function) -> set[str]:
    """Return the names of a function's arguments."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    every.extend(item for item in (spec.vararg, spec.kwarg) if item is not None)
    return {item.arg for item in every}


def ungated_rate(module: Module, node: ast.expr | None, at: ast.AST) -> bool:
    """Return whether a rate is surely above zero in eval mode too, as far as the file tells.

    Literals above zero are, and attributes set in `__init__` and nowhere else, and local names
    bound to such. Arguments of the function are unknown, so they are not.
    """
    if node is None or mentions_training(node):
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and node.value > 0
    owner = module.method(at)
    if isinstance(node, ast.Attribute):
        return owner is not None and _ungated_attribute(module, node, *owner)
    function = module.function(at)
    if isinstance(node, ast.Name) and function is not None:
        if node.id in parameters(function):
            return False
        values = [
            item.value
            for item in module.assigned.get(node.id, ())
            if module.function(item) is function
        ]
        if any(isinstance(value, ast.Name) and value.id == node.id for value in values):
            return False
        return bool(values) and all(
            ungated_rate(module, value, at) and not gated(module, value) for value in values
        )
    return False


def _ungated_attribute(
    module: Module, node: ast.Attribute, owner: ClassInfo, method: Function
) -> bool:
    me = self_name(method)
    value = node.value
    if isinstance(value, ast.Attribute) and node.attr == "p":
        # self.dropout.p: the rate of a dropout module, whatever its mode.
        return isinstance(value.value, ast.Name) and value.value.id == me
    if not (isinstance(value, ast.Name) and value.id == me):
        return False
    classes = owner.family
    values = owner.values(node.attr)
    if not values:
        above = lineage(module, owner)
        classes = [*classes, *(info for _, info in above.found)]
        values = [(value, method) for _, value, method in above.values(node.attr)]
    if any(node.attr in info.methods for info in classes):
        return False
    zero = all(isinstance(v, ast.Constant) and not v.value for v, _ in values)
    gates = any(mentions_training(v) for v, _ in values)
    outside = any(m.name != "__init__" for _, m in values)
    if any(_compared_with_zero(info, node.attr) for info in classes):
        # The class takes another path where the rate is above 0.
        return False
    return bool(values) and not (zero or gates or outside)


def _compared_with_zero(owner: ClassInfo, attribute: str) -> bool:
    for node in ast.walk(owner.node):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq):
            continue
        left, right = node.left, node.comparators[0]
        named = isinstance(left, ast.Attribute) and left.attr == attribute
        if named and isinstance(right, ast.Constant) and right.value == 0:
            return True
    return False
