"""Which code validates a model that the file trains? Shared by the checks of the mode."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo
from droplab.doctor._elsewhere import lineage
from droplab.doctor._events import Events, text_of
from droplab.doctor._module import Module
from droplab.doctor._script import Script

WORDS = re.compile(
    r"(?:^|_)(?:val|valid|validation|validate|test|eval|evaluate|evaluation|dev|acc|accuracy|"
    r"correct|metric|metrics|score|scores|pred|preds|prediction|predictions|predict|infer)(?:_|$|\d)",
    re.IGNORECASE,
)
_FAMILIES = (
    *("alexnet", "vgg", "googlenet", "inception", "squeezenet", "mobilenet", "mnasnet"),
    *("efficientnet", "convnext", "swin", "vit", "maxvit"),
)
_DROPPING = (
    "transformers.Auto",
    *(f"torchvision.models.{family}" for family in _FAMILIES),
)
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


def depends(module: Module, text: str) -> bool:
    """Return whether a model has a layer that depends on the mode, as far as the file tells."""
    if plain_class(module, text):
        return False
    return (
        mode_matters(module)
        or bool(re.search("dropout|batch_?norm", module.source.text, re.IGNORECASE))
        or any(
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "train"
            and text_of(call.func.value) == text
            for call in module.calls
        )
    )


def mode_matters(module: Module) -> bool:
    """Return whether the file itself builds a layer that behaves differently in eval mode."""
    return may_drop(module) or any(
        name in _names.BATCHNORM or name.startswith(("torchvision.models.", "timm.create_model"))
        for name in (module.resolve(call.func) for call in module.calls)
    )


def may_drop(module: Module) -> bool:
    """Return whether the file itself builds a layer that draws masks; BatchNorm draws none."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name in _names.MODULES or name in _names.FUNCTIONS or name.startswith(_DROPPING):
            return True
        if name == "timm.create_model" and any("drop" in (k.arg or "drop") for k in call.keywords):
            return True
        for keyword in call.keywords:
            if keyword.arg and "dropout" in keyword.arg and _names.number(keyword.value) != 0.0:
                return name.startswith("torch.nn.") or not name
    return False


def plain_class(module: Module, text: str) -> bool:
    """Return whether a model surely has neither dropout nor BatchNorm: its class is in the file."""
    known = {info.name: info for info in module.classes}
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if not any(text_of(target) == text for target in node.targets):
            continue
        at: ast.expr = node.value
        while isinstance(at, ast.Call):
            if isinstance(at.func, ast.Name) and at.func.id in known:
                return not has_mode(module, known[at.func.id])
            if not isinstance(at.func, ast.Attribute):
                break
            at = at.func.value
    return False


def all_plain(module: Module) -> bool:
    """Return whether a file has classes of models, and all are the same in either mode."""
    models = [info for info in module.classes if info.is_module]
    return (
        bool(models)
        and not mode_matters(module)
        and not any(has_mode(module, info) for info in models)
    )


def has_mode(module: Module, info: ClassInfo) -> bool:
    """Return whether a class of the file may have dropout or BatchNorm, in itself or its parts."""
    return _has_mode(module, info, {item.name: item for item in module.classes}, set())


def _classes(module: Module, info: ClassInfo) -> Iterator[tuple[Module, ClassInfo]]:
    """Yield a class and those that it derives from; other files are read at the end, if at all."""
    yield from ((module, item) for item in info.family)
    yield from lineage(module, info).found


def _has_mode(module: Module, info: ClassInfo, known: dict[str, ClassInfo], seen: set[str]) -> bool:
    if info.name in seen:
        return False
    seen.add(info.name)
    for file, item in _classes(module, info):
        for node in ast.walk(item.node):
            if not isinstance(node, ast.Call):
                continue
            name = file.resolve(node.func)
            if name in _names.MODULES or name in _names.BATCHNORM or name in _names.FUNCTIONS:
                return True
            if name and not name.startswith(("torch.", "numpy.", "math.")):
                return True
            inner = node.func.id if isinstance(node.func, ast.Name) and file is module else ""
            if inner in known and _has_mode(module, known[inner], known, seen):
                return True
    return False
