"""DRP008: passes under no_grad with dropout on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live.watching._untrained import validations

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP008"


def check(watch: Watch) -> Iterator[Finding]:
    """Find passes without gradients in which dropout dropped, on inputs that change."""
    for root in watch.roots:
        passes = validations(watch, root, grad=False)
        if not passes:
            continue
        yield watch.finding(
            CODE,
            f"{type(root).__name__} is validated under no_grad() but in train mode: "
            "no_grad() does not stop dropout",
            "call model.eval() before validation, and model.train() after it",
            place=passes[0].place,
            evidence={
                "passes without gradients": len(passes),
                "of them with dropout on": sum(bool(item.drops_on) for item in passes),
            },
        )
