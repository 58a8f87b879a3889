"""DRP007: validation without eval()."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _depends, _validation
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Script
from droplab.doctor.checks.no_grad_is_not_eval import validations

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop

CODE = Code(
    "DRP007",
    "validation-in-train-mode",
    "validation runs in train mode",
    "error",
    optional=True,
)


def reading(module: Module) -> Iterator[Finding]:
    """Find passes over validation data of a model that is still in train mode."""
    for _, visit, layers in validations(module):
        if visit.no_grad or not _validates(module, visit.node):
            continue
        yield module.finding(
            CODE,
            visit.node,
            f"validation runs with {_active(layers)}: nothing puts {visit.text} into eval mode",
            f"call {visit.text}.eval() before validation, and train() after it",
        )


def _active(layers: _depends.Layers) -> str:
    return "dropout on" if _depends.DROPOUT in layers else "BatchNorm in train mode"


def _validates(module: Module, call: ast.Call) -> bool:
    """Whether a loop's data or the function's name say validation; a metric alone does not."""
    script = Script.of(module)
    for above in module.ancestors(call):
        if isinstance(above, ast.For | ast.AsyncFor | ast.comprehension):
            if any(event.kind == "backward" for event in script.events(above)):
                return False
            if any(_validation.WORDS.search(name) for name in _validation.names_in(above.iter)):
                return True
        elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            trains = any(event.kind == "backward" for event in script.events(above))
            return _validation.WORDS.search(above.name) is not None and not trains
    return False


def watching(loop: Loop) -> Iterator[Finding]:
    """Find passes with gradients on whose output nothing was learnt from."""
    for root in loop.roots:
        # The last pass of an interrupted step has no gradient either: one alone proves nothing.
        passes = [
            item
            for item in loop.validations(root, grad=True)
            if item.counted or not item.norm_trains or item.drops_on
        ]
        if not passes or (
            len(passes) == 1 and passes[0] is loop.passes[-1] and not passes[0].counted
        ):
            continue
        model = loop.variable(root)
        yield loop.finding(
            CODE,
            f"{type(root).__name__} is validated in train mode, with dropout on",
            f"call {model}.eval() before validation, and {model}.train() after it",
            place=passes[0].place,
            evidence={
                "passes that nothing was learnt from": len(passes),
                "of them with dropout on": sum(bool(item.drops_on) for item in passes),
            },
        )
