"""DRP041: one mask in step after step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import label
from droplab.doctor.live.running.repeated_mask import same

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP041"


def check(watch: Watch) -> Iterator[Finding]:
    """Compare the masks of each dropout in consecutive trained passes."""
    for root in watch.roots:
        for calls in watch.grouped(watch.trained(root)).values():
            pairs = [
                (a[0], b[0])
                for a, b in pairwise(calls)
                if a[0].mask is not None
                and b[0].mask is not None
                and a[0].mask.comparable(b[0].mask)
            ]
            equal = sum(same(a, b) for a, b in pairs)
            # One repetition may be meant (a second look at the same batch); two are a habit.
            if not equal or equal < min(2, len(pairs)):
                continue
            drop = pairs[0][0]
            yield watch.finding(
                CODE,
                f"{label(drop, watch.name(drop.module))} has the same mask on step after step",
                "seed once, before the loop",
                place=drop.place,
                module=drop.module,
                evidence={"pairs of steps": len(pairs), "of them with equal masks": equal},
            )
