"""DRP013: a training flag that lands in `p` or in `inplace`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module

CODE = Code("DRP013", "flag-as-rate", "a training flag lands in another argument", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find flags given by position where a rate or `inplace` is expected."""
    for call in module.calls:
        name = module.resolve(call.func)
        short = name.rpartition(".")[2]
        if name in _names.FUNCTIONS and not _names.has_unpacking(call):
            functional = _names.FUNCTIONS[name]
            rate = functional.rate_of(call)
            if rate is None or not is_flag(rate):
                continue
            edits: tuple[Edit, ...] = ()
            if len(call.args) == 2 and not call.keywords and functional.default is not None:
                start = module.span(call.args[1])[0]
                edits = (Edit(start, start, f"{functional.flag}="),)
            yield module.finding(
                CODE,
                rate,
                f"the flag is taken as p of {short}(): True drops everything, False nothing",
                f"pass it by name: {functional.flag}=",
                edits=edits,
                unsafe=True,
            )
        elif name in _names.MODULES:
            if call.args and is_flag(call.args[0]):
                yield module.finding(
                    CODE,
                    call.args[0],
                    f"the flag is taken as p of {short}: True drops everything, False nothing",
                    "give the rate first; train() and eval() set the mode",
                )
            elif len(call.args) > 1 and _is_training(call.args[1]):
                yield module.finding(
                    CODE,
                    call.args[1],
                    f"the second argument of {short} is inplace, not training",
                    "remove it; train() and eval() set the mode",
                )


def _is_training(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("training", "train", "is_training", "is_train")


def is_flag(node: ast.expr) -> bool:
    """Return whether an expression is a training flag or a literal truth value."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return True
    return _is_training(node)
