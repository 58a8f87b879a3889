"""DRP005: a dropout that drops nothing in any pass that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import label

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP005"


def check(watch: Watch) -> Iterator[Finding]:
    """Find dropouts with p > 0 that were off in every trained pass."""
    for root in watch.roots:
        passes = watch.trained(root)
        for calls in watch.grouped(passes).values():
            drops = [drop for group in calls for drop in group]
            drop = drops[0]
            if drop.p == 0.0 or any(d.on or not d.silent for d in drops):
                continue
            if drop.module is not None and _frozen(root, drop.module):
                continue
            yield watch.finding(
                CODE,
                f"{label(drop, watch.name(drop.module))} drops nothing in training: it is in eval "
                "mode in every step",
                "call model.train() before training",
                place=drop.place if drop.module is None else ("", 0),
                module=drop.module,
                evidence={"trained passes": len(passes), "passes that dropped something": 0},
            )


def _frozen(root: nn.Module, module: nn.Module) -> bool:
    """Whether the nearest part with parameters around a dropout is frozen."""
    path = next((name for name, item in root.named_modules() if item is module), "")
    while path:
        path = path.rpartition(".")[0]
        parameters = list((root.get_submodule(path) if path else root).parameters())
        if parameters:
            return not any(parameter.requires_grad for parameter in parameters)
    return False
