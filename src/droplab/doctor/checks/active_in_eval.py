"""DRP004: a dropout drops although the model was put into eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _kinds
from droplab.doctor._finding import Code, Finding

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam
    from droplab.doctor.live._loop import Loop

CODE = Code("DRP004", "active-in-eval", "dropout is active in eval mode", "error")


def running(exam: Exam) -> Iterator[Finding]:
    """Compare two passes in eval mode; blame the dropouts that were on in them."""
    first, second = exam.evals
    gap = first.difference(second)
    if gap == 0.0:
        return
    evidence = {"largest difference between two passes": gap}
    blamed: set[object] = set()
    for drop in first.drops:
        if not drop.on or drop.p == 0.0 or drop.silent or drop.key in blamed:
            continue
        blamed.add(drop.key)
        if drop.module is None:
            reason, advice = "its flag does not follow eval()", "pass training=self.training"
            if drop.name == "scaled_dot_product_attention":
                advice = "pass dropout_p=p if self.training else 0.0"
        elif drop.module not in exam.names:
            if _fresh(exam, drop.module):
                continue
            reason = "it is not registered, so eval() does not reach it"
            advice = "keep it on self as an attribute, or in an nn.ModuleList"
        else:
            reason = "it is in training mode although the model was put into eval mode"
            advice = "look for a train() or eval() that is overridden, or a stray train()"
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} drops in eval mode: {reason}",
            advice,
            drop=drop,
            evidence=evidence,
        )
    if blamed or any(d.on and not d.silent for d in first.drops):
        return
    if first.recorder.random and first.difference(exam.control) == 0.0:
        name, place = first.recorder.random[0]
        yield exam.finding(
            CODE,
            f"the output in eval mode is random: {name.lstrip('.')} is drawn in the forward pass",
            "draw only if self.training",
            evidence={**evidence, "drawn at": f"{place[0]}:{place[1]}"},
        )


def _fresh(exam: Exam, module: object) -> bool:
    """Whether the module was built for this pass: the other pass did not call it."""
    return all(drop.module is not module for drop in exam.evals[1].drops)


def watching(loop: Loop) -> Iterator[Finding]:
    """Find dropouts that dropped although the model at the top was in eval mode."""
    for root in loop.roots:
        passes = [item for item in loop.of(root) if not item.training]
        sampled = loop.samples(root)
        calls: dict[object, list[Drop]] = {}
        for item in passes:
            for drop in item.drops_on:
                # Dropout modules woken for repeated passes on one input are Monte Carlo dropout.
                if item in sampled and drop.module is not None and _member(root, drop.module):
                    continue
                calls.setdefault(drop.key, []).append(drop)
        for drops in calls.values():
            drop = drops[0]
            yield loop.finding(
                CODE,
                f"{loop.label(drop)} drops although {type(root).__name__} is in eval mode",
                "tie it to self.training; build it in __init__ and keep it on self",
                place=drop.place,
                module=drop.module,
                evidence={"passes in eval mode": len(passes), "calls that dropped": len(drops)},
            )


def _member(root: nn.Module, module: nn.Module) -> bool:
    return _kinds.is_dropout(module) and any(item is module for item in root.modules())
