"""DRP006: a model that stays in eval mode after its first validation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _depends, _evidence, _kinds, _validation
from droplab.doctor._events import calls_of, text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._order import entries
from droplab.doctor._states import Mode, Visit, awake

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._loop import Loop

CODE = Code(
    "DRP006",
    "eval-not-undone",
    "the model stays in eval mode after validation",
    "error",
    optional=True,
    provable=True,
)

_FROZEN = re.compile(
    r"teacher|target|ema|reference|ref_|frozen|pretrained|clip|vgg|lpips|vae|critic"
)


def reading(module: Module) -> Iterator[Finding]:
    """Find models that are trained in train mode, put into eval mode, and trained on."""
    if "backward" not in module.attributes or not module.attributes & {"eval", "train"}:
        return
    for entry in entries(module):
        trained = [visit for visit in entry.visits if visit.trained]
        for at, visit in enumerate(trained):
            earlier = [item for item in trained[:at] if item.key == visit.key]
            mode = _lost(visit, earlier)
            if mode is None or mode.by is None or _FROZEN.search(mode.text.lower()):
                continue
            if _put_back(module, mode.by, visit.node) or _frozen(module, mode.by):
                continue
            if not _depends.layers_of(module, visit.text, visit.made):
                continue
            yield module.finding(
                CODE,
                mode.by,
                f"{mode.text} is put into eval mode, and nothing puts it back: from then on line "
                f"{visit.node.lineno} trains it in eval mode",
                f"call {mode.text}.train() after validation, or at the top of every epoch",
                complete=_evidence.undone(module, entry, visit, mode)
                and bool(_evidence.learns(module, entry, visit)),
            )


def _lost(visit: Visit, earlier: list[Visit]) -> Mode | None:
    """Return the eval mode in which a trained pass runs, though it began in train mode."""
    if any(mode.kind == "unknown" for mode in visit.modes):
        return None
    began = {item.node for item in earlier if awake(item.modes)}
    if not began:
        return None
    if not visit.stepped and visit.node not in began:
        # Gradients alone, after the training: an attack or an explanation of the model.
        return None
    return next((mode for mode in visit.modes if mode.kind == "eval"), None)


def _put_back(module: Module, by: ast.Call, run: ast.Call) -> bool:
    """Whether train() follows a run later in the very block that holds eval().

    Then the run between them is in eval mode on purpose: a frozen discriminator, an attack.
    """
    if not isinstance(by.func, ast.Attribute):
        return False
    above = [by, *module.ancestors(by)]
    at = next(at for at, item in enumerate(above) if isinstance(item, ast.stmt))
    blocks = [block for _, block in ast.iter_fields(above[at + 1]) if isinstance(block, list)]
    block = next((block for block in blocks if above[at] in block), [above[at]])
    calls = [call for item in block[block.index(above[at]) :] for call in calls_of(item)]
    if run not in calls:
        return False
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "train"
        and text_of(call.func.value) == text_of(by.func.value)
        and not any(isinstance(item, ast.Constant) and not item.value for item in call.args)
        for call in calls[calls.index(run) :]
    )


def _frozen(module: Module, by: ast.Call) -> bool:
    """Whether the function that calls eval() also stops the gradients of the model's weights."""
    around = module.function(by)
    if around is None or not isinstance(by.func, ast.Attribute):
        return False
    model = text_of(by.func.value)
    for loop in ast.walk(around):
        if not isinstance(loop, ast.For) or "requires_grad" not in _validation.names_in(loop):
            continue
        for item in ast.walk(loop.iter):
            of = item.func if isinstance(item, ast.Call) else None
            if isinstance(of, ast.Attribute) and "param" in of.attr and text_of(of.value) == model:
                return True
    return False


def watching(loop: Loop) -> Iterator[Finding]:
    """Find models whose mode was lost between two trained passes."""
    for root in loop.roots:
        passes = loop.trained(root)
        lost = [
            item
            for at, item in enumerate(passes)
            if not item.training and any(earlier.training for earlier in passes[:at])
        ]
        if not lost or not any(item.drops or _has_norm(item.root) for item in passes):
            continue
        yield loop.finding(
            CODE,
            f"{type(root).__name__} was put into eval mode and trained on: nothing put it back",
            f"call {loop.variable(root)}.train() after validation, or at the top of every epoch",
            place=lost[0].place,
            evidence={"trained passes": len(passes), "of them in eval mode": len(lost)},
        )


def _has_norm(root: nn.Module) -> bool:
    return any("BatchNorm" in _kinds.kind_of(item) for item in root.modules())
