"""DRP004: a dropout dropped in a pass that the model made in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live._events import Drop
from droplab.doctor.live._exam import label
from droplab.doctor.live.watching._untrained import samples

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP004"


def check(watch: Watch) -> Iterator[Finding]:
    """Find dropouts that dropped although the model at the top was in eval mode."""
    for root in watch.roots:
        passes = [item for item in watch.of(root) if not item.training]
        sampled = samples(watch, root)
        calls: dict[object, list[Drop]] = {}
        for item in passes:
            for drop in item.drops_on:
                # Dropout modules woken for repeated passes on one input are Monte Carlo dropout.
                if item in sampled and drop.module is not None and _member(root, drop.module):
                    continue
                calls.setdefault(drop.key, []).append(drop)
        for drops in calls.values():
            drop = drops[0]
            yield watch.finding(
                CODE,
                f"{label(drop, watch.name(drop.module))} drops although {type(root).__name__} is "
                "in eval mode",
                "tie it to self.training; build it in __init__ and keep it on self",
                place=drop.place,
                module=drop.module,
                evidence={"passes in eval mode": len(passes), "calls that dropped": len(drops)},
            )


def _member(root: nn.Module, module: nn.Module) -> bool:
    return _kinds.is_dropout(module) and any(item is module for item in root.modules())
