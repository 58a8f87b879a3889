"""DRP041: the same mask again and again: in every step, or at every time within one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._classes import ClassInfo
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Script

if TYPE_CHECKING:
    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam, Trace
    from droplab.doctor.live._loop import Loop

CODE = Code(
    "DRP041",
    "repeated-mask",
    "one mask is used again and again",
    "error",
    optional=True,
)

_SEEDS = frozenset(
    {"torch.manual_seed", "torch.random.manual_seed", "torch.cuda.manual_seed"}
    | {
        "torch.cuda.manual_seed_all",
        "lightning.seed_everything",
        "lightning.fabric.seed_everything",
    }
    | {"pytorch_lightning.seed_everything", "transformers.set_seed", "accelerate.utils.set_seed"}
)
_EPOCH = re.compile(r"^(?:epochs?|ep|e|n?_?epoch_?\w*|step|it|iteration|batch_?idx)$")


def is_seed(module: Module, call: ast.Call) -> bool:
    """Return whether a call seeds torch's default generator with a given number."""
    return module.resolve(call.func) in _SEEDS and bool(call.args or call.keywords)


def reading(module: Module) -> Iterator[Finding]:
    """Find a constant seed in a forward or in a training loop."""
    script = Script.of(module)
    for call in module.calls:
        if not is_seed(module, call):
            continue
        owner = module.method(call)
        if owner is not None and owner[0].is_module and owner[1].name == "forward":
            if _varies(call, owner[1]) or _redrawn(call, owner[0]):
                continue
            if not _drops(module) or _in_eval_alone(module, call):
                continue
            yield _finding(
                module, call, "forward() seeds the generator, so every call drops the same"
            )
            continue
        function = module.function(call)
        if function is not None and function.name.startswith("test"):
            continue
        loop = _loop(module, call)
        if loop is None or _varies(call, loop) or _independent_runs(module, loop):
            continue
        if _steps_directly(module, script, loop) or _is_epoch(script, loop):
            what = "step" if _steps_directly(module, script, loop) else "epoch"
            yield _finding(
                module, call, f"the generator is seeded anew in every {what}: the masks repeat"
            )


def _in_eval_alone(module: Module, call: ast.Call) -> bool:
    """Whether a call stands where `if self.training` says that nothing is trained."""
    inner: ast.AST = call
    for above in module.ancestors(call):
        if isinstance(above, ast.If):
            test, turned = above.test, False
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                test, turned = test.operand, True
            if isinstance(test, ast.Attribute) and test.attr == "training":
                return inner in (above.body if turned else above.orelse)
        inner = above
    return False


def _finding(module: Module, call: ast.Call, message: str) -> Finding:
    return module.finding(CODE, call, message, "seed once, before the loop")


def _loop(module: Module, call: ast.Call) -> ast.For | ast.While | None:
    for above in module.ancestors(call):
        if isinstance(above, ast.For | ast.While):
            return above
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return None
    return None


def _independent_runs(module: Module, loop: ast.For | ast.While) -> bool:
    """Whether every turn is a run of its own: it builds an optimizer, or tries a listed variant."""
    if isinstance(loop, ast.For) and isinstance(loop.iter, ast.Tuple | ast.List):
        return True
    return any(
        module.resolve(item.func).startswith("torch.optim.")
        for item in ast.walk(loop)
        if isinstance(item, ast.Call)
    )


def _varies(call: ast.Call, around: ast.AST) -> bool:
    """Whether the seed is computed from something that changes inside."""
    used = {item.id for item in ast.walk(call) if isinstance(item, ast.Name)}
    used |= {item.attr for item in ast.walk(call) if isinstance(item, ast.Attribute)}
    if any(re.search(r"step|epoch|iter|count|call|rank|offset|idx|index", name) for name in used):
        return True
    changed: set[str] = set()
    for node in ast.walk(around):
        if isinstance(node, ast.For):
            changed |= {item.id for item in ast.walk(node.target) if isinstance(item, ast.Name)}
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                changed |= {i.id for i in ast.walk(target) if isinstance(i, ast.Name)}
        elif isinstance(node, ast.arguments):
            changed |= {item.arg for item in [*node.args, *node.kwonlyargs]}
    return bool((used - {"self"}) & changed)


def _redrawn(call: ast.Call, owner: ClassInfo) -> bool:
    """Whether the seed is kept in an attribute that a method other than __init__ fills."""
    used = {item.attr for item in ast.walk(call) if isinstance(item, ast.Attribute)}
    for info in owner.family:
        for method in info.node.body:
            if not isinstance(method, ast.FunctionDef) or method.name == "__init__":
                continue
            for node in ast.walk(method):
                if isinstance(node, ast.Subscript | ast.Attribute) and _stored(node) in used:
                    return True
    return False


def _stored(node: ast.Subscript | ast.Attribute) -> str:
    """Return the attribute that a target writes to, or into; "" if it only reads."""
    if not isinstance(node.ctx, ast.Store):
        return ""
    target = node.value if isinstance(node, ast.Subscript) else node
    return target.attr if isinstance(target, ast.Attribute) else ""


def _steps_directly(module: Module, script: Script, loop: ast.AST) -> bool:
    """Whether the loop itself runs backward(), not a loop within it."""
    for event in script.events(loop):
        if event.kind != "backward":
            continue
        for above in module.ancestors(event.node):
            if above is loop:
                return True
            if isinstance(above, ast.For | ast.While | ast.FunctionDef):
                break
    return False


def _is_epoch(script: Script, loop: ast.AST) -> bool:
    if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Name):
        return False
    if not any(event.kind == "backward" for event in script.events(loop)):
        return False
    names = {item.id for item in ast.walk(loop.iter) if isinstance(item, ast.Name)}
    return bool(_EPOCH.match(loop.target.id)) or any("epoch" in name.lower() for name in names)


def _drops(module: Module) -> bool:
    for call in module.calls:
        name = module.resolve(call.func)
        if name in _names.MODULES or name in _names.FUNCTIONS or name == "torch.bernoulli":
            return True
    return False


def running(exam: Exam) -> Iterator[Finding]:
    """Compare the masks of one dropout between passes, and between its calls in one pass."""
    steps = [_by_key(trace) for trace in exam.trains]
    for key, drops in steps[0].items():
        drop = drops[0]
        later = [step.get(key, []) for step in steps[1:]]
        if later and all(calls and _same(drop, calls[0]) for calls in later):
            message = "has the same mask on every step"
        elif len(drops) > 1 and all(_same(a, b) for a, b in pairwise(drops)):
            if drop.module is not None and _kinds.is_locked(drop.module):
                continue
            message = f"has the same mask in all its {len(drops)} calls of one pass"
        else:
            continue
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} {message}",
            "do not seed the generator in forward; seed once, before training",
            drop=drop,
            evidence={"steps": len(steps), "calls a step": len(drops)},
        )


def _by_key(trace: Trace) -> dict[object, list[Drop]]:
    found: dict[object, list[Drop]] = {}
    for drop in trace.drops:
        found.setdefault(drop.key, []).append(drop)
    return found


def _same(a: Drop, b: Drop) -> bool:
    """Whether two calls surely had one mask."""
    return a.mask is not None and b.mask is not None and a.mask.same(b.mask)


def watching(loop: Loop) -> Iterator[Finding]:
    """Compare the masks of each dropout in consecutive trained passes."""
    for root in loop.roots:
        for calls in loop.grouped(loop.trained(root)).values():
            pairs = [
                (a[0], b[0])
                for a, b in pairwise(calls)
                if a[0].mask is not None
                and b[0].mask is not None
                and a[0].mask.comparable(b[0].mask)
            ]
            equal = sum(_same(a, b) for a, b in pairs)
            # One repetition may be meant (a second look at the same batch); two are a habit.
            if not equal or equal < min(2, len(pairs)):
                continue
            drop = pairs[0][0]
            yield loop.finding(
                CODE,
                f"{loop.label(drop)} has the same mask on step after step",
                "seed once, before the loop",
                place=drop.place,
                module=drop.module,
                evidence={"pairs of steps": len(pairs), "of them with equal masks": equal},
            )
