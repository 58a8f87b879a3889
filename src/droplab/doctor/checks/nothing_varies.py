"""DRP047: Monte Carlo prediction whose passes are all equal."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._classes import Function
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Script

if TYPE_CHECKING:
    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP047", "nothing-varies", "Monte Carlo passes are all equal", "error")

_FIX = "wake every kind of dropout that the model has, or use droplab.uncertainty.awake(model)"
_SAMPLES = re.compile(r"(?:^|_)mc(?:_|d|$)|monte_?carlo", re.IGNORECASE)
_OTHER_MODELS = (
    "torchvision.models",
    "torch.load",
    "torch.hub",
    "torch.jit",
    "timm",
    "torch.nn.Transformer",
)
_NO_MODELS = sys.stdlib_module_names | {"torch", "numpy", "pandas", "tqdm", "sklearn", "matplotlib"}
_RANDOM = frozenset(
    {"rand", "randn", "rand_like", "randn_like", "normal", "normal_", "bernoulli", "bernoulli_"}
    | {"sample", "rsample", "multinomial", "randperm", "randint", "uniform_", "dropout", "gumbel"}
)
_MATCHES = frozenset({"startswith", "endswith", "find", "match", "search", "lower"})


def reading(module: Module) -> Iterator[Finding]:
    """Find dropouts woken by a class that the file does not build, and passes with none woken."""
    asleep = _built(module)
    if not asleep:
        return
    yield from _missed(module, asleep)
    yield from _unwoken(module)


def _built(module: Module) -> dict[str, ast.Call]:
    """Return the kinds of dropout that follow the mode in the file's models, with a call of each.

    Nothing if the file has models of others, or dropout that is always on.
    """
    found: dict[str, ast.Call] = {}
    for call in module.calls:
        name = module.resolve(call.func)
        if _may_be_a_model(name):
            return {}
        if name in _names.MODULES:
            if _names.number(_names.argument(call, "p", 0)) != 0.0:
                found.setdefault(name, call)
        elif name in _names.FUNCTIONS:
            flag = _names.FUNCTIONS[name].flag_of(call)
            if flag is None or isinstance(flag, ast.Constant):
                return {}
            found.setdefault(name, call)
    return found if any(info.is_module for info in module.classes) or found else {}


def _may_be_a_model(name: str) -> bool:
    """Whether a call may make a model of others: known makers, and classes of other files."""
    if name.startswith(_OTHER_MODELS) or name.endswith(".from_pretrained"):
        return True
    top, last = name.partition(".")[0], name.rpartition(".")[2]
    return top not in _NO_MODELS and last[:1].isupper()


def _missed(module: Module, built: dict[str, ast.Call]) -> Iterator[Finding]:
    """Find `isinstance(m, nn.Dropout): m.train()` where no dropout of the file is of that class."""
    wakes = [
        (test, kinds)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and _wakes(node) and not _all_awake(module, node)
        for test, kinds in _asked(module, node.test)
    ]
    woken = {kind for _, kinds in wakes for kind in kinds}
    if not wakes or woken & built.keys() or not woken <= _names.MODULES.keys():
        return
    if _by_name(module):
        return
    short = sorted(kind.rpartition(".")[2] for kind in built)
    asked = " or ".join(sorted(kind.rpartition(".")[2] for kind in wakes[0][1]))
    yield module.finding(
        CODE,
        wakes[0][0],
        f"only {asked} is woken, and the models of this file drop by {', '.join(short)}: all "
        "Monte Carlo passes are equal",
        _FIX,
    )


def _by_name(module: Module) -> bool:
    """Whether classes are told by their names, too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "rop" in node.value:
            above = module.parents.get(node)
            asked = isinstance(above, ast.Call) and getattr(above.func, "attr", "") in _MATCHES
            if isinstance(above, ast.Compare) or asked:
                return True
    return False


def _all_awake(module: Module, wake: ast.If) -> bool:
    """Whether the function around calls train() on a whole model, too."""
    inside = set(ast.walk(wake))
    return any(
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "train"
        and node not in inside
        and not any(isinstance(item, ast.Constant) and item.value is False for item in node.args)
        for node in ast.walk(module.function(wake) or wake)
    )


def _wakes(node: ast.If) -> bool:
    """Whether the body of an `if` puts something into training mode."""
    for statement in node.body:
        for item in ast.walk(statement):
            if isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute):
                off = any(isinstance(a, ast.Constant) and a.value is False for a in item.args)
                if item.func.attr == "train" and not off:
                    return True
            elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
                flags = [t for t in item.targets if isinstance(t, ast.Attribute)]
                if item.value.value is True and any(t.attr == "training" for t in flags):
                    return True
    return False


def _asked(module: Module, test: ast.expr) -> Iterator[tuple[ast.expr, frozenset[str]]]:
    """Yield (expression, classes) of isinstance(m, ...) and type(m) is ... in a test."""
    for item in ast.walk(test):
        kinds: ast.expr | None = None
        if isinstance(item, ast.Call) and getattr(item.func, "id", "") == "isinstance":
            kinds = item.args[1] if len(item.args) == 2 else None
        elif isinstance(item, ast.Compare) and isinstance(item.ops[0], ast.Is | ast.Eq | ast.In):
            left = item.left
            if isinstance(left, ast.Call) and getattr(left.func, "id", "") == "type":
                kinds = item.comparators[0]
        if kinds is not None and isinstance(item, ast.expr):
            every = kinds.elts if isinstance(kinds, ast.Tuple | ast.List | ast.Set) else [kinds]
            yield item, frozenset(module.resolve(kind) or "?" for kind in every)


def _unwoken(module: Module) -> Iterator[Finding]:
    """Find functions named for Monte Carlo that sample a model in eval mode and wake nothing."""
    drawn = {
        text_of(call.func).rpartition(".")[2]
        for call in module.calls
        if module.resolve(call.func) not in _names.FUNCTIONS
    }
    if drawn & _RANDOM or any({"train", "eval"} & info.methods.keys() for info in module.classes):
        return
    script = Script.of(module)
    for function in module.functions:
        if not _SAMPLES.search(function.name):
            continue
        events = script.events(function)
        kinds = {event.kind for event in events}
        if kinds & {"train", "mode", "backward"} or "eval" not in kinds or _sets(function):
            continue
        off = [e for e in events if e.kind == "eval" and e.via is e.node]
        for event in off:
            passes = [e.via for e in events if e.kind == "call" and e.target == event.target]
            given = {e.target for e in events if e.kind == "foreign"}
            if event.target in given or not event.target:
                continue
            again = [call for call in passes if _repeats(module, function, call)]
            if again and again[0].lineno >= event.node.lineno:
                yield module.finding(
                    CODE,
                    event.node,
                    f"{event.target} is in eval mode and nothing wakes its dropout: all passes of "
                    f"line {again[0].lineno} are equal",
                    _FIX,
                )
                break


def _sets(function: Function) -> bool:
    """Whether a function sets training flags by hand, or by a call that may."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr in ("training", "apply", "modules"):
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("named_modules", "children"):
            return True
        if isinstance(node, ast.Call):
            name = text_of(node.func).rpartition(".")[2]
            if name not in ("train", "eval") and re.search(
                r"enable|awake|wake|activate|dropout|train", name, re.IGNORECASE
            ):
                return True
    return False


def _repeats(module: Module, function: Function, call: ast.Call) -> bool:
    """Whether a call is repeated over range(n) with arguments that do not change meanwhile."""
    if not all(isinstance(item, ast.Name) for item in call.args) or call.keywords:
        return False
    names = {item.id for item in call.args if isinstance(item, ast.Name)}
    for above in module.ancestors(call):
        if above is function:
            return False
        if isinstance(above, ast.For):
            stored = {
                item.id
                for item in ast.walk(above)
                if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
            }
            return _counts(above.iter) and not names & stored
        if isinstance(above, ast.ListComp | ast.GeneratorExp):
            target = above.generators[0].target
            stored = {item.id for item in ast.walk(target) if isinstance(item, ast.Name)}
            return _counts(above.generators[0].iter) and not names & stored
        if isinstance(above, ast.While):
            return False
    return False


def _counts(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("range", "trange")


def running(exam: Exam) -> Iterator[Finding]:
    """Find models whose dropout drops other elements in each pass, and whose output is the same."""
    first = exam.trains[0]
    drops = [drop for drop in first.drops if drop.on and not drop.silent and drop.p != 0.0]
    if not drops or not any(output.numel() for output in first.outputs):
        return
    if any(first.difference(other) > 0.0 for other in exam.trains[1:]):
        return
    if not any(
        _other_mask(drop, other)
        for trace in exam.trains[1:]
        for drop in drops
        for other in trace.drops
        if other.key == drop.key
    ):
        return
    yield exam.finding(
        CODE,
        f"{exam.label(drops[0])} drops in every pass, and the output is the same in all of them: "
        "what it drops never gets there",
        "look at what is made of its result; Monte Carlo passes say nothing about this model",
        drop=drops[0],
        evidence={"passes in training mode": len(exam.trains), "largest difference of two": 0.0},
    )


def _other_mask(a: Drop, b: Drop) -> bool:
    """Whether two calls had masks that surely differ."""
    if a.mask is None or b.mask is None or a.mask.dropped.shape != b.mask.dropped.shape:
        return False
    both = a.mask.visible & b.mask.visible
    return bool(((a.mask.dropped != b.mask.dropped) & both).any())
