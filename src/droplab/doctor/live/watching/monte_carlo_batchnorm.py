"""DRP009: Monte Carlo samples drawn while BatchNorm is in train mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live.watching._untrained import samples

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP009"


def check(watch: Watch) -> Iterator[Finding]:
    """Find repeated passes on one input with dropout and BatchNorm both in train mode."""
    for root in watch.roots:
        passes = [
            item
            for item in watch.of(root)
            if item in samples(watch, root) and item.norm_trains and item.drops_on
        ]
        if len(passes) < 2:
            continue
        yield watch.finding(
            CODE,
            f"Monte Carlo passes of {type(root).__name__} run BatchNorm in train mode: each uses "
            "the statistics of its batch and changes the running ones",
            "call eval(), then train() on the dropout modules alone",
            place=passes[0].place,
            evidence={"Monte Carlo passes with BatchNorm in train mode": len(passes)},
        )
