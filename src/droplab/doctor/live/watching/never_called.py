"""DRP022: a dropout module that no pass of the loop calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live.running.never_called import owner_of

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP022"


def check(watch: Watch) -> Iterator[Finding]:
    """Find dropout modules whose owner ran in training and never called them."""
    for root in watch.roots:
        if not watch.trained(root):
            continue
        for name, module in root.named_modules():
            if not _kinds.is_dropout(module) or module in watch.called:
                continue
            if _kinds.rate_of(module) == 0.0 or owner_of(root, name) not in watch.called:
                continue
            yield watch.finding(
                CODE,
                f"{type(module).__name__} '{name}' was never called",
                "call it in forward, or remove it",
                module=module,
                evidence={"passes": len(watch.of(root)), "calls": 0},
            )
