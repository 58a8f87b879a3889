"""DRP009: Monte Carlo prediction that puts BatchNorm into train mode too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names, _validation
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Function, Module
from droplab.doctor._script import Event, Script

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP009", "monte-carlo-batchnorm", "Monte Carlo passes train BatchNorm", "error")

_FIX = (
    "use droplab.uncertainty.awake(model), or call eval(), then train() on every kind of dropout "
    "module alone"
)

_NAME = re.compile(r"(?:^|_)mc(?:_|d|$)|monte|uncertain|bayes|stochastic|epistemic", re.IGNORECASE)
_OTHER = re.compile(r"layer|group|instance|rms|^none$|identity", re.IGNORECASE)
_SPREAD = frozenset({"stack", "var", "std", "mean", "var_mean", "std_mean"})


def reading(module: Module) -> Iterator[Finding]:
    """Find functions that call train() on a whole model and then sample predictions from it."""
    if "train" not in module.attributes:
        return
    script = Script.of(module)
    for function in module.functions:
        events = script.events(function)
        kinds = {event.kind for event in events}
        if "train" not in kinds or kinds & {"backward", "step"}:
            continue
        for event in events:
            if event.kind != "train" or event.via is not event.node:
                continue
            if not _samples(module, function, event, events) or _mended(function, event):
                continue
            if not _may_have_batchnorm(module, event.target):
                continue
            yield module.finding(
                CODE,
                event.node,
                f"{event.target}.train() wakes BatchNorm too: every Monte Carlo pass uses the "
                "statistics of its batch and changes the running ones",
                _FIX,
            )


def _samples(module: Module, function: Function, event: Event, events: list[Event]) -> bool:
    """Whether the model is run again and again and the outputs are put together."""
    for other in events:
        if other.kind != "call" or other.target != event.target:
            continue
        if other.node.lineno < event.node.lineno and other.via is other.node:
            continue
        if not _repeated(module, other.via, function):
            continue
        spread = {a.attr for a in ast.walk(function) if isinstance(a, ast.Attribute)} & _SPREAD
        if _NAME.search(function.name) or (spread - {"mean"} and other.no_grad):
            return True
    return False


def _repeated(module: Module, call: ast.Call, function: Function) -> bool:
    for above in module.ancestors(call):
        if above is function:
            return False
        if isinstance(above, ast.For):
            return _counts(above.iter)
        if isinstance(above, ast.ListComp | ast.GeneratorExp):
            return _counts(above.generators[0].iter)
        if isinstance(above, ast.While):
            return False
    return False


def _counts(node: ast.expr) -> bool:
    """Whether a loop runs over range(n): the same input again and again."""
    return any(
        isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id == "range"
        for item in ast.walk(node)
    )


def _mended(function: Function, event: Event) -> bool:
    """Whether single modules are put back into eval mode afterwards."""
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.lineno > event.node.lineno
        ):
            if node.func.attr == "eval" and _in_module_loop(function, node):
                return True
            if node.func.attr == "apply":
                return True
    # A loop over modules() that wakes the ones it has asked about is the right way.
    return _in_module_loop(function, event.node, tested=True)


def _in_module_loop(function: Function, call: ast.Call, *, tested: bool = False) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.For) and any(item is call for item in ast.walk(node)):
            names = _validation.names_in(node.iter)
            if names & {"modules", "named_modules", "children", "named_children"}:
                return not tested or any(isinstance(item, ast.If) for item in ast.walk(node))
    return False


def _may_have_batchnorm(module: Module, text: str) -> bool:
    """Whether the model may have BatchNorm: only a class in this file can settle it."""
    if any(module.resolve(call.func) in _names.BATCHNORM for call in module.calls):
        return True
    if _other_norm(module, text):
        return False
    return not any(info.is_module for info in module.classes) and text != "self"


def _other_norm(module: Module, text: str) -> bool:
    """Whether the model is built with another norm: norm="layer_norm", norm_layer=nn.LayerNorm."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if not any(text_of(target) == text for target in node.targets):
            continue
        for keyword in node.value.keywords:
            given = keyword.value
            told = str(given.value) if isinstance(given, ast.Constant) else text_of(given)
            if keyword.arg and "norm" in keyword.arg.lower() and _OTHER.search(told):
                return True
    return False


def watching(loop: Loop) -> Iterator[Finding]:
    """Find repeated passes on one input with dropout and BatchNorm both in train mode."""
    for root in loop.roots:
        sampled = loop.samples(root)
        passes = [p for p in loop.of(root) if p in sampled and p.norm_trains and p.drops_on]
        if len(passes) < 2:
            continue
        yield loop.finding(
            CODE,
            f"Monte Carlo passes of {type(root).__name__} run BatchNorm in train mode: each uses "
            "the statistics of its batch and changes the running ones",
            _FIX,
            place=passes[0].place,
            evidence={"Monte Carlo passes with BatchNorm in train mode": len(passes)},
        )
