"""DRP023: in-place dropout on a tensor that somebody still needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._flow import Op
from droplab.doctor._module import Module
from droplab.doctor._place import dropouts
from droplab.doctor.finding import Edit, Finding

CODE = "DRP023"

_KEEPS_OUTPUT = frozenset(
    f"torch.{space}{name}"
    for space, names in (
        ("nn.", "ReLU Sigmoid Tanh Softmax Softmax2d LogSoftmax"),
        ("nn.functional.", "relu relu_ sigmoid tanh softmax log_softmax"),
        ("", "relu relu_ sigmoid tanh softmax log_softmax exp sqrt rsqrt"),
    )
    for name in names.split()
) | frozenset({".relu", ".sigmoid", ".tanh", ".softmax", ".exp", ".sqrt"})
"""Operations whose backward pass reads their own output."""

_HARMLESS = frozenset(
    {"phi", ".shape", ".size", ".dim", ".ndim", ".device", ".dtype", ".numel", "end", "?"}
)
_KEEPS_INPUT = (
    _names.CONVOLUTIONS | _names.BATCHNORM | {"torch.nn.Linear", "mult", "matmult", "torch.matmul"}
)


def check(module: Module) -> Iterator[Finding]:
    """Find in-place dropout after such an operation, or on a value that is used again."""
    for _, op in dropouts(module):
        flag = _flag(op)
        source = op.first
        if not (isinstance(flag, ast.Constant) and flag.value is True) or source is None:
            continue
        others = [user for user in source.users if user is not op and user.kind not in _HARMLESS]
        later = [user for user in others if user.order > op.order and user is not op.users]
        before = [user for user in others if user.order < op.order and user.kind in _KEEPS_INPUT]
        if source.kind in _KEEPS_OUTPUT:
            short = source.kind.rpartition(".")[2]
            message = f"the backward pass of {short} needs the output that is overwritten here"
        elif later:
            line = getattr(later[0].node, "lineno", 0)
            message = f"the input is overwritten here, and used again in line {line}"
        elif before:
            line = getattr(before[0].node, "lineno", 0)
            message = f"backward of line {line} needs the tensor that is overwritten here"
        else:
            continue
        start, end = module.span(flag)
        yield module.finding(
            CODE, flag, message, "leave inplace out", edits=(Edit(start, end, "False"),)
        )


def _flag(op: Op) -> ast.expr | None:
    if op.kind in _names.MODULES:
        return _names.argument(op.make, "inplace", 1) if op.make is not None else None
    if isinstance(op.node, ast.Call) and op.kind.startswith("torch.nn.functional."):
        return _names.argument(op.node, "inplace", 3)
    return None
