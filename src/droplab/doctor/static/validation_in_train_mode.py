"""DRP007: validation without eval()."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _validation
from droplab.doctor._module import Module
from droplab.doctor.finding import Finding
from droplab.doctor.static.no_grad_is_not_eval import validations

CODE = "DRP007"


def check(module: Module) -> Iterator[Finding]:
    """Find a loop over validation data in a file that trains and never calls eval()."""
    for region, event in validations(module):
        if event.no_grad or not _validates(module, region, event.node):
            continue
        yield module.finding(
            CODE,
            event.node,
            f"validation runs with dropout on: nothing puts {event.target} into eval mode",
            f"call {event.target}.eval() before validation, and train() after it",
        )


def _validates(module: Module, region: ast.AST, call: ast.Call) -> bool:
    """Whether a loop's data or the function's name say validation; a metric alone does not."""
    for above in [region, *module.ancestors(call)]:
        if isinstance(above, ast.For | ast.AsyncFor):
            if any(_validation.WORDS.search(name) for name in _validation.names_in(above.iter)):
                return True
        elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            return bool(_validation.WORDS.search(above.name))
    return False
