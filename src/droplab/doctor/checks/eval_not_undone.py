"""DRP006: a model that stays in eval mode after its first validation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _kinds
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Event, Script

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._loop import Loop

CODE = Code("DRP006", "eval-not-undone", "the model stays in eval mode after validation", "error")

_FROZEN = re.compile(
    r"teacher|target|ema|reference|ref_|frozen|pretrained|clip|vgg|lpips|vae|critic"
)
_Loop = ast.For | ast.AsyncFor | ast.While


def reading(module: Module) -> Iterator[Finding]:
    """Find loops that train and call eval(), and nowhere in them train()."""
    if "backward" not in module.attributes or not module.attributes & {"eval", "train"}:
        return
    script = Script.of(module)
    done: set[tuple[int, int]] = set()
    for loop in sorted(module.loops, key=lambda item: -item.lineno):
        events = script.events(loop)
        if not any(event.kind == "backward" for event in events):
            continue
        for event in events:
            if event.kind != "eval" or not event.target or _FROZEN.search(event.target.lower()):
                continue
            at = (event.node.lineno, event.node.col_offset)
            if at in done or not _innermost(module, script, loop, event):
                continue
            done.add(at)
            if _restored(events, event) or not _trained(script, module, event.target, events):
                continue
            yield module.finding(
                CODE,
                event.node,
                f"{event.target} is put into eval mode in the training loop of line {loop.lineno}, "
                "and nothing puts it back: from then on it trains without dropout",
                f"call {event.target}.train() after validation, or at the top of every epoch",
            )


def _innermost(module: Module, script: Script, loop: _Loop, event: Event) -> bool:
    """Whether no loop inside this one holds both the eval() and a backward()."""
    for above in module.ancestors(event.via):
        if above is loop:
            return True
        if isinstance(above, _Loop) and any(e.kind == "backward" for e in script.events(above)):
            return False
    return False


def _restored(events: list[Event], event: Event) -> bool:
    for other in events:
        if other.kind in ("train", "mode", "foreign") and _same(other.target, event.target):
            return True
        if other.kind in ("train", "mode") and not other.target:
            return True
    return False


def _same(a: str, b: str) -> bool:
    """Whether two expressions may be the same model, or one a part of the other."""
    return a == b or a.startswith(b + ".") or b.startswith(a + ".")


def _trained(script: Script, module: Module, target: str, events: list[Event]) -> bool:
    """Whether it is this model that the loop trains."""
    after = [e for e in events if e.kind == "call" and e.target == target and not e.no_grad]
    return bool(after)


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
            "call model.train() after validation, or at the top of every epoch",
            place=lost[0].place,
            evidence={"trained passes": len(passes), "of them in eval mode": len(lost)},
        )


def _has_norm(root: nn.Module) -> bool:
    return any("BatchNorm" in _kinds.kind_of(item) for item in root.modules())
