"""DRP044: accuracy measured with dropout on, shown beside accuracy measured without."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor import _depends, _validation
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Script

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP044", "train-accuracy", "accuracy with dropout against accuracy without", "note")

_TRAIN = re.compile(r"^(?:train|tr|training|running)_?(?:acc|accuracy|correct|corrects)\w*$", re.I)
_VALID = re.compile(r"^(?:val|valid|validation|test|dev|eval)_?(?:acc|accuracy|correct)\w*$", re.I)
_SHOWS = frozenset({"print", "info", "debug", "log", "log_dict", "write", "set_postfix", "plot"})
_SHOWS_MORE = frozenset({"add_scalars", "append", "format", "log_metrics", "echo"})


def reading(module: Module) -> Iterator[Finding]:
    """Find a line that shows both, where the training figure was counted in the training loop."""
    script = Script.of(module)
    if not _drops(module):
        return
    for call in module.calls:
        function = call.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name not in _SHOWS | _SHOWS_MORE:
            continue
        names = {item.id for item in ast.walk(call) if isinstance(item, ast.Name)}
        ours = sorted(item for item in names if _TRAIN.match(item))
        theirs = [item for item in names if _VALID.match(item)]
        if not ours or not theirs:
            continue
        scope = module.function(call) or module.tree
        same = _evaluators(scope, theirs)
        counted = [
            item
            for item in ours
            if not _evaluated(script, scope, item, same)
            and not any(_together(module, scope, call, item, other) for other in theirs)
            and _in_training(module, script, scope, item)
        ]
        if counted:
            yield module.finding(
                CODE,
                call,
                f"{counted[0]} is counted while dropout is on, the other figure without it: "
                "their difference is not the gap",
                "measure the training accuracy again in eval mode before you compare",
            )
            return


def _drops(module: Module) -> bool:
    return "dropout" in module.source.text.lower() and _depends.builds(module)


def _makers(scope: ast.AST, name: str) -> list[ast.expr]:
    """Return what a variable is assigned in a function."""
    return [
        node.value
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign) and any(_binds(target, name) for target in node.targets)
    ]


def _evaluators(scope: ast.AST, names: list[str]) -> set[str]:
    """Return the functions that the validation figures come from, by their text."""
    made = [value for name in names for value in _makers(scope, name)]
    return {text_of(value.func) for value in made if isinstance(value, ast.Call)} - {""}


def _evaluated(script: Script, scope: ast.AST, name: str, same: set[str]) -> bool:
    """Whether the training figure comes from the evaluation that the other comes from."""
    counted = any(
        isinstance(node, ast.AugAssign) and _binds(node.target, name) for node in ast.walk(scope)
    )
    made = [value for value in _makers(scope, name) if not isinstance(value, ast.Constant)]
    calls = [value for value in made if isinstance(value, ast.Call) and text_of(value.func) in same]
    if counted or not made or len(calls) < len(made):
        return False
    inner = [script.callee(value) for value in calls]
    return not any(
        event.kind == "backward"
        for function in inner
        if function is not None
        for event in script.events(function)
    )


def _together(module: Module, scope: ast.AST, call: ast.Call, ours: str, theirs: str) -> bool:
    """Whether both figures come from one call, or are counted on one output of the model."""
    before = [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        and node.lineno < call.lineno
        and any(_binds(target, ours) for target in node.targets)
    ]
    last = max(before, key=lambda node: node.lineno, default=None)
    if last is not None and any(_binds(target, theirs) for target in last.targets):
        return True
    loop = next((a for a in module.ancestors(call) if isinstance(a, ast.For | ast.While)), None)
    made = {
        item.id
        for node in (ast.walk(loop) if loop is not None else ())
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.Subscript)
        for target in node.targets
        for item in ast.walk(target)
        if isinstance(item, ast.Name)
    }
    used = [
        {
            item.id
            for value in _makers(scope, name)
            for item in ast.walk(value)
            if isinstance(item, ast.Name)
        }
        for name in (ours, theirs)
    ]
    return bool(used[0] & used[1] & made)


def _in_training(module: Module, script: Script, scope: ast.AST, name: str, depth: int = 3) -> bool:
    """Whether a variable is counted in a loop with backward(), or returned by one that does."""
    for node in ast.walk(scope):
        if isinstance(node, ast.AugAssign):
            if _binds(node.target, name) and _beside_backward(module, script, node):
                return True
        elif isinstance(node, ast.Assign) and any(_binds(t, name) for t in node.targets):
            value = node.value
            if isinstance(value, ast.Call):
                inner = script.callee(value)
                if inner is not None:
                    return _counts(module, script, inner)
            if _beside_backward(module, script, node):
                return True
            if depth and any(
                _in_training(module, script, scope, item.id, depth - 1)
                for item in ast.walk(value)
                if isinstance(item, ast.Name)
                and re.search("correct|acc|hit", item.id)
                and item.id != name
            ):
                return True
    return False


def _counts(module: Module, script: Script, function: ast.AST) -> bool:
    """Whether a function counts correct answers in a loop that trains."""
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            names = {n for target in targets for n in _validation.names_in(target)}
            if any(re.search("correct|acc", n) for n in names) and _beside_backward(
                module, script, node
            ):
                return True
    return False


def _beside_backward(module: Module, script: Script, node: ast.AST) -> bool:
    if script.in_no_grad(node):
        # no_grad alone does not switch dropout off, but a second pass may be what stands here.
        calls = [item for item in ast.walk(module.parents[node]) if isinstance(item, ast.Call)]
        if any(e.kind in ("eval", "call") for call in calls for e in script.events(call)):
            return False
    for above in module.ancestors(node):
        if isinstance(above, ast.For | ast.While):
            events = script.events(above)
            kinds = {event.kind for event in events}
            return "backward" in kinds and "eval" not in kinds
        if isinstance(above, ast.FunctionDef):
            return False
    return False


def _binds(target: ast.expr, name: str) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return any(_binds(item, name) for item in target.elts)
    return isinstance(target, ast.Name) and target.id == name


def watching(loop: Loop) -> Iterator[Finding]:
    """Find accuracy from trained passes with dropout on beside accuracy from passes without."""
    for root in loop.roots:
        noisy = [item for item in loop.of(root) if item.trained and item.counted and item.drops_on]
        quiet = [
            item
            for item in loop.of(root)
            if not item.trained and item.counted and not item.drops_on
        ]
        if not noisy or not quiet:
            continue
        evidence: dict[str, Any] = {
            "training accuracy with dropout on": _share(noisy),
            "validation accuracy": _share(quiet),
        }
        again = [item for item in noisy if item.counted_quiet]
        if again:
            evidence["some training batches, dropout on"] = _share(again)
            evidence["the same batches, dropout off"] = sum(
                item.correct_quiet for item in again
            ) / sum(item.counted_quiet for item in again)
        yield loop.finding(
            CODE,
            "training accuracy is counted while dropout is on, validation accuracy without: "
            "their difference is not the gap",
            "measure the training accuracy again in eval mode before you compare",
            place=noisy[0].place,
            evidence=evidence,
        )


def _share(passes: list[Any]) -> float:
    return sum(item.correct for item in passes) / sum(item.counted for item in passes)
