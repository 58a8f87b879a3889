"""Which code validates a model that the file trains? Shared by the checks of the mode."""

from __future__ import annotations

import ast
import re

from droplab.doctor._events import Events, text_of
from droplab.doctor._module import Module
from droplab.doctor._script import Script

WORDS = re.compile(
    r"(?:^|_)(?:val|valid|validation|validate|test|eval|evaluate|evaluation|dev|acc|accuracy|"
    r"correct|metric|metrics|score|scores|pred|preds|prediction|predictions|predict|infer)(?:_|$|\d)",
    re.IGNORECASE,
)
SURELY = re.compile(
    r"(?:^|_)(?:val|valid|validation|validate|test|testing|eval|evaluate|evaluation|dev|holdout)"
    r"(?:_?(?:set|data|dl|iter|gen|x|y))?(?:_|\d|$)|"
    r"^(?:val|valid|test|dev)(?:loader|iter|set|data)",
    re.IGNORECASE,
)
"""Words for data, or a function, of validation alone: other words may stand for a figure."""
_NOT = re.compile(r"teacher|target|ema|reference|frozen|momentum|disc|generator")


def names_in(node: ast.AST) -> set[str]:
    """Return the identifiers in a piece of code."""
    found: set[str] = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Name):
            found.add(item.id)
        elif isinstance(item, ast.Attribute):
            found.add(item.attr)
    return found


def speaks(node: ast.AST) -> bool:
    """Return whether the names in a piece of code say that it validates."""
    return any(WORDS.search(name) for name in names_in(node))


def says_so(node: ast.AST) -> bool:
    """Return whether the names in a piece of code say surely that it validates."""
    return any(SURELY.search(name) for name in names_in(node))


def measures(node: ast.AST) -> bool:
    """Return whether a piece of code takes a figure out of a loss, or counts answers."""
    for item in ast.walk(node):
        if isinstance(item, ast.Call):
            name = getattr(item.func, "attr", getattr(item.func, "id", ""))
            if name in ("item", "argmax") or re.search("criterion|_loss$|cross_entropy", name):
                return True
    return False


def spoken_of(module: Module) -> set[str]:
    """Return models whose mode is set or asked for, or that other files get hold of, by text."""
    if "spoken_of" not in module.cache:
        events = Events(module)
        found = set(_asked(module))
        for call in module.calls:
            mode = events.mode(call)
            if mode is not None and isinstance(call.func, ast.Attribute):
                if mode != "train":
                    found.add(text_of(events.bare(call.func.value)))
            elif not events.harmless(call) and not events.function(call):
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                found.update(text_of(item) for item in given)
        module.cache["spoken_of"] = found
    return module.cache["spoken_of"]


def asked(module: Module, text: str) -> bool:
    """Return whether a file looks at the mode of a model, or sets it by hand."""
    return text in _asked(module)


def _asked(module: Module) -> set[str]:
    if "asked" not in module.cache:
        found: set[str] = set()
        if "training" in module.attributes:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Attribute) and node.attr == "training":
                    found.add(text_of(node.value))
                    if isinstance(node.ctx, ast.Store):
                        # for m in model.modules(): m.training = False
                        found.update(Events(module).models)
        module.cache["asked"] = found
    return module.cache["asked"]


def trains(module: Module, script: Script) -> bool:
    """Return whether the file has a training step: backward() and an optimizer's step()."""
    events = script.events(module.tree)
    for function in module.functions:
        events.extend(script.events(function))
    kinds = {event.kind for event in events}
    return {"backward", "step"} <= kinds


def optimized(module: Module) -> set[str]:
    """Return the texts of models whose parameters an optimizer gets."""
    found: set[str] = set()
    for call in module.calls:
        name = module.resolve(call.func)
        if not name.startswith("torch.optim."):
            continue
        for item in ast.walk(call):
            if (
                isinstance(item, ast.Call)
                and isinstance(item.func, ast.Attribute)
                and item.func.attr in ("parameters", "named_parameters")
            ):
                text = text_of(item.func.value)
                if text and not _NOT.search(text.lower()):
                    found.add(text)
    return found
