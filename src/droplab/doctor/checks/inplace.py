"""DRP023: in-place dropout on a tensor that somebody still needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._flow import Op
from droplab.doctor._module import Module
from droplab.doctor._place import dropouts

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP023", "inplace", "in-place dropout overwrites what is needed", "error")

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


def reading(module: Module) -> Iterator[Finding]:
    """Find in-place dropout after such an operation, or on a value that is used again."""
    for _, op in dropouts(module):
        flag = _flag(op)
        source = op.first
        if not (isinstance(flag, ast.Constant) and flag.value is True) or source is None:
            continue
        if flag not in module.parents or isinstance(module.parents.get(op.node), ast.Expr):
            # The layer is made by a base in another file; or to overwrite is all the call is for.
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
            CODE, flag, message, _ADVICE, edits=(Edit(start, end, "False"),), unsafe=bool(later)
        )


def _flag(op: Op) -> ast.expr | None:
    if op.kind in _names.MODULES:
        return _names.argument(op.make, "inplace", 1) if op.make is not None else None
    if isinstance(op.node, ast.Call) and op.kind.startswith("torch.nn.functional."):
        return _names.argument(op.node, "inplace", 3)
    return None


_ADVICE = "leave inplace out"


def running(exam: Exam) -> Iterator[Finding]:
    """Compare passes in place and out of place with the same masks."""
    trace = exam.trains[0]
    suspects = [drop for drop in trace.drops if drop.in_place and drop.on and drop.p != 0.0]
    if not suspects:
        return
    drop = suspects[0]
    what = exam.label(drop)
    if len(suspects) > 1:
        what += f" (or one of {len(suspects) - 1} more that are in place)"
    if "modified by an inplace operation" in trace.backward_error:
        yield exam.finding(
            CODE,
            f"backward fails: it needs a tensor that {what} overwrites",
            _ADVICE,
            drop=drop,
            evidence={"error": trace.backward_error.splitlines()[0][:160]},
        )
        return
    gap = exam.separate[0].difference(exam.separate[1]) if exam.separate else 0.0
    if gap > 1e-6:
        yield exam.finding(
            CODE,
            f"the result is another one than with the same masks out of place: {what} overwrites "
            "a tensor that is used again",
            _ADVICE,
            drop=drop,
            evidence={"largest difference": gap},
        )
    elif trace.batch_changed:
        yield exam.finding(
            CODE,
            f"{what} overwrites the batch itself",
            _ADVICE,
            drop=drop,
            evidence={"batch changed by the forward pass": True},
        )
