"""Tests that the literals of a call decide: `run(valid, train=False)` never gets to `if train:`."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from droplab.doctor._classes import Function


def literals(function: Function, call: ast.Call, spec: list[ast.arg]) -> dict[str, object]:
    """Return the arguments of a call whose values are literals, passed or by default.

    Args:
        function: The function that is called; an argument that it assigns is left out.
        call: The call.
        spec: The arguments that can be passed by position, without the object of a method.
    """
    if any(isinstance(item, ast.Starred) for item in call.args):
        return {}
    values: dict[str, ast.expr | None] = {}
    arguments = function.args
    for argument, default in zip(reversed(spec), reversed(arguments.defaults), strict=False):
        values[argument.arg] = default
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        values[argument.arg] = default
    for argument, value in zip(spec, call.args, strict=False):
        values[argument.arg] = value
    for keyword in call.keywords:
        if keyword.arg is None:
            return {}
        values[keyword.arg] = keyword.value
    found: dict[str, object] = {
        name: value.value for name, value in values.items() if isinstance(value, ast.Constant)
    }
    if found:
        for item in ast.walk(function):
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
                found.pop(item.id, None)
    return found


def decided(test: ast.expr, given: Mapping[str, object]) -> bool | None:
    """Return how a test ends with these arguments; None if they do not decide it.

    Example:
        >>> test = ast.parse("not train", mode="eval").body
        >>> decided(test, {"train": False}), decided(test, {})
        (True, None)
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = decided(test.operand, given)
        return None if inner is None else not inner
    if isinstance(test, ast.Name):
        return bool(given[test.id]) if test.id in given else None
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    left, right = test.left, test.comparators[0]
    if not isinstance(left, ast.Name) or left.id not in given:
        return None
    if not isinstance(right, ast.Constant):
        return None
    same = given[left.id] == right.value
    if isinstance(test.ops[0], ast.Eq | ast.Is):
        return same
    return not same if isinstance(test.ops[0], ast.NotEq | ast.IsNot) else None
