"""DRP008: `no_grad()` where `eval()` was meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _validation
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Event, Script

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP008", "no-grad-is-not-eval", "no_grad() is taken for eval()", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find validation under no_grad in a file that trains the model and never calls eval()."""
    for region, event in validations(module):
        if event.no_grad:
            yield module.finding(
                CODE,
                event.node,
                f"no_grad() saves memory, it does not stop dropout: nothing puts {event.target} "
                "into eval mode",
                f"call {event.target}.eval() before validation, and train() after it",
            )
            del region


def validations(module: Module) -> Iterator[tuple[ast.AST, Event]]:
    """Yield (region, call of the model) of validation code in a file without any eval().

    A region is a `with` block, a loop or a function that says by its names that it validates, and
    runs a model whose parameters an optimizer of the file holds, without a backward().
    """
    if "backward" not in module.attributes or _validation.sets_eval(module):
        return
    if not _validation.mode_matters(module):
        return
    script = Script.of(module)
    models = _validation.optimized(module)
    if not models or not _validation.trains(module, script):
        return
    done: set[tuple[int, int]] = set()
    top = script.events(module.tree)
    for function in module.functions:
        top.extend(script.events(function))
    if any(e.kind == "foreign" and e.target in models and not _harmless(e) for e in top):
        return
    trained = {_place(e) for e in top if e.kind == "call" and _trains_here(module, script, e)}
    for event in top:
        if event.kind != "call" or event.target not in models or _place(event) in done:
            continue
        region = _region(module, event)
        if region is None or _place(event) in trained:
            continue
        done.add(_place(event))
        if _validation.plain_class(module, event.target):
            continue
        yield region, event


def _place(event: Event) -> tuple[int, int]:
    return event.node.lineno, event.node.col_offset


def _harmless(event: Event) -> bool:
    """Whether a foreign call that gets the model surely leaves its mode alone."""
    function = event.node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name in ("print", "len", "summary", "DataParallel", "DistributedDataParallel", "append")


def _trains_here(module: Module, script: Script, event: Event) -> bool:
    """Whether the innermost loop or function around a call also runs backward()."""
    for above in module.ancestors(event.node):
        if isinstance(above, ast.With | ast.AsyncWith) and any(
            script.is_no_grad(item.context_expr) for item in above.items
        ):
            return False
        if isinstance(above, ast.For | ast.While | ast.FunctionDef | ast.AsyncFunctionDef):
            return any(e.kind == "backward" for e in script.events(above))
    return False


def _region(module: Module, event: Event) -> ast.AST | None:
    """Return the innermost code around a call that says it validates."""
    for above in module.ancestors(event.node):
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            names = _validation.names_in(above) | {above.name}
            return above if any(_validation.WORDS.search(name) for name in names) else None
        if isinstance(above, ast.With | ast.AsyncWith | ast.For):
            names = _validation.names_in(above)
            if any(_validation.WORDS.search(name) for name in names):
                return above
    return None


def watching(loop: Loop) -> Iterator[Finding]:
    """Find passes without gradients in which dropout dropped, on inputs that change."""
    for root in loop.roots:
        passes = loop.validations(root, grad=False)
        if not passes:
            continue
        yield loop.finding(
            CODE,
            f"{type(root).__name__} is validated under no_grad() but in train mode: "
            "no_grad() does not stop dropout",
            "call model.eval() before validation, and model.train() after it",
            place=passes[0].place,
            evidence={
                "passes without gradients": len(passes),
                "of them with dropout on": sum(bool(item.drops_on) for item in passes),
            },
        )
