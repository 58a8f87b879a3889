"""DRP007: passes that are not trained on, in train mode and with gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live.watching._untrained import validations

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP007"


def check(watch: Watch) -> Iterator[Finding]:
    """Find passes with gradients on whose output nothing was learnt from."""
    for root in watch.roots:
        # The last pass of an interrupted step has no gradient either: one alone proves nothing.
        passes = [
            item
            for item in validations(watch, root, grad=True)
            if item.counted or not item.norm_trains or item.drops_on
        ]
        if not passes or (
            len(passes) == 1 and passes[0] is watch.passes[-1] and not passes[0].counted
        ):
            continue
        yield watch.finding(
            CODE,
            f"{type(root).__name__} is validated in train mode, with dropout on",
            "call model.eval() before validation, and model.train() after it",
            place=passes[0].place,
            evidence={
                "passes that nothing was learnt from": len(passes),
                "of them with dropout on": sum(bool(item.drops_on) for item in passes),
            },
        )
