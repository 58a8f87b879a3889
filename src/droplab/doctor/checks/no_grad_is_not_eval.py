"""DRP008: `no_grad()` where `eval()` was meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _depends, _evidence, _validation
from droplab.doctor._classes import ClassInfo, self_name
from droplab.doctor._elsewhere import derives_elsewhere, lineage
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._gate import parameters
from droplab.doctor._module import Module
from droplab.doctor._order import Entry, entries
from droplab.doctor._script import Script
from droplab.doctor._states import Visit, awake

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop

CODE = Code(
    "DRP008",
    "no-grad-is-not-eval",
    "no_grad() is taken for eval()",
    "error",
    optional=True,
    provable=True,
)

_CONTAINERS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList"})
_SAMPLES = re.compile(
    r"(?:^|_)mc(?:_|d|$)|monte|uncertain|bayes|stochastic|epistemic|n_samples|forward_passes",
    re.IGNORECASE,
)


def reading(module: Module) -> Iterator[Finding]:
    """Find validation under no_grad of a model that the same code trains, still in train mode."""
    told: set[tuple[ast.AST | None, str]] = set()
    for entry, visit, layers in validations(module):
        place = (module.function(visit.node), visit.key)
        if visit.no_grad and place not in told and _validates(module, visit.node):
            # The first pass of a model in a function stands for all of them: one line mends them.
            told.add(place)
            yield module.finding(
                CODE,
                visit.node,
                f"no_grad() saves memory, it does not stop {_active(layers)}: nothing puts "
                f"{visit.text} into eval mode",
                f"call {visit.text}.eval() before validation, and train() after it",
                complete=_evidence.validates(module, visit.node)
                and bool(_evidence.learns(module, entry, visit)),
            )


def _active(layers: _depends.Layers) -> str:
    return "dropout" if _depends.DROPOUT in layers else "BatchNorm from learning"


def validations(module: Module) -> Iterator[tuple[Entry, Visit, _depends.Layers]]:
    """Yield passes in train mode of models that the same code trains, but not in these passes.

    With each come the way that led to it, and the layers that the model has which do something
    else in eval mode.

    Where a function is not called in the file, who calls it is unknown: then nothing in the file
    may speak of the model's mode.
    """
    if "backward" not in module.attributes or "step" not in module.attributes:
        return
    every = entries(module)
    trained = {visit.text for entry in every for visit in entry.visits if visit.trained}
    trained |= _validation.optimized(module)
    done: set[ast.Call] = set()
    for entry in every:
        by_node: dict[ast.Call, list[Visit]] = {}
        for visit in entry.visits:
            by_node.setdefault(visit.node, []).append(visit)
        here = {visit.key for visit in entry.visits if visit.trained}
        for node, visits in by_node.items():
            if node in done or any(v.trained or not awake(v.modes) for v in visits):
                continue
            first = visits[0]
            if _belongs_to_a_module(module, first) or first.text in _parts(module):
                continue
            if _no_module(module, first):
                continue
            if first.key not in here:
                if first.text not in trained or first.text in _validation.spoken_of(module):
                    continue
                if _is_own(entry.region, first):
                    continue
            elif _validation.asked(module, first.text):
                continue
            layers = _depends.layers_of(module, first.text, first.made)
            if layers and not _sampled(module, node):
                done.add(node)
                yield entry, first, layers


def _belongs_to_a_module(module: Module, visit: Visit) -> bool:
    """Whether a model is part of an object whose class may put it into eval mode out of sight.

    Of a module, eval() reaches all parts; a class above it in another file may do the same.
    """
    found = module.method(visit.node)
    if found is None or visit.text.partition(".")[0] != self_name(found[1]):
        return False
    return found[0].is_module or _base_may_tell(module, found[0])


def _no_module(module: Module, visit: Visit) -> bool:
    """Whether an isinstance() around a pass says that it runs a function, not a module."""
    inner: ast.AST = visit.node
    for above in module.ancestors(visit.node):
        if isinstance(above, ast.If) and inner in above.orelse:
            test = above.test
            given = test.args if isinstance(test, ast.Call) else []
            asked = isinstance(test, ast.Call) and text_of(test.func) == "isinstance"
            if asked and given and text_of(given[0]) == visit.text:
                return True
        inner = above
    return False


def _base_may_tell(module: Module, info: ClassInfo) -> bool:
    """Whether a class of another file that a class derives from may set the mode, or is unknown."""
    if not derives_elsewhere(info):
        return False
    above = lineage(module, info)
    return not above.complete or any(
        isinstance(node, ast.Attribute) and node.attr in ("eval", "train", "training")
        for _, item in above.found
        for node in ast.walk(item.node)
    )


def _parts(module: Module) -> set[str]:
    """Return models that are put into a larger one, whose mode they share, by text."""
    if "parts" not in module.cache:
        module.cache["parts"] = {
            text_of(item)
            for call in module.calls
            if module.resolve(call.func) in _CONTAINERS
            for item in call.args
        }
    return module.cache["parts"]


def _sampled(module: Module, call: ast.Call) -> bool:
    """Whether a pass is one of several for one input, whose spread is asked for."""
    for above in module.ancestors(call):
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if _SAMPLES.search(above.name):
                return True
        elif isinstance(above, ast.stmt) and any(
            _SAMPLES.search(name) for name in _validation.names_in(above)
        ):
            return True
    around = module.function(call)
    names = _validation.names_in(around) if around is not None else set[str]()
    return bool(names & {"var", "std", "var_mean", "std_mean"})


def _is_own(region: ast.AST, visit: Visit) -> bool:
    """Whether a function made the model itself, which only has the name of the trained one."""
    function = isinstance(region, ast.FunctionDef | ast.AsyncFunctionDef)
    return function and ":" in visit.key and visit.text not in parameters(region)


def _validates(module: Module, call: ast.Call) -> bool:
    """Whether the innermost code around a call validates, by its names or by what it does."""
    script = Script.of(module)
    for above in module.ancestors(call):
        if isinstance(above, ast.With | ast.AsyncWith):
            if _validation.says_so(above):
                return True
            if _validation.speaks(above):
                # A figure alone, in the midst of a training step, is of that step.
                return not _steps(module, above)
        elif isinstance(above, ast.For | ast.AsyncFor | ast.While):
            if any(event.kind == "backward" for event in script.events(above)):
                # A pass within the training step: pseudo labels, a momentum encoder, a cache.
                return False
            if _validation.speaks(above) or _validation.measures(above):
                return True
        elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(event.kind == "backward" for event in script.events(above)):
                return False
            named = _validation.WORDS.search(above.name) is not None
            return named or _validation.speaks(above) or _validation.measures(above)
    return False


def _steps(module: Module, block: ast.AST) -> bool:
    """Whether the loop or function around a block runs backward() itself, in no loop within it."""
    scopes = (ast.For, ast.AsyncFor, ast.While, ast.FunctionDef, ast.AsyncFunctionDef)
    around = next((item for item in module.ancestors(block) if isinstance(item, scopes)), None)
    todo: list[ast.AST] = list(ast.iter_child_nodes(around)) if around is not None else []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Attribute) and node.attr == "backward":
            return True
        if not isinstance(node, (*scopes, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))
    return False


def watching(loop: Loop) -> Iterator[Finding]:
    """Find passes without gradients in which dropout dropped, on inputs that change."""
    for root in loop.roots:
        passes = loop.validations(root, grad=False)
        if not passes:
            continue
        model = loop.variable(root)
        yield loop.finding(
            CODE,
            f"{type(root).__name__} is validated under no_grad() but in train mode: "
            "no_grad() does not stop dropout",
            f"call {model}.eval() before validation, and {model}.train() after it",
            place=passes[0].place,
            evidence={
                "passes without gradients": len(passes),
                "of them with dropout on": sum(bool(item.drops_on) for item in passes),
            },
        )
