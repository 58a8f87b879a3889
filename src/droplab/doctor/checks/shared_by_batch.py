"""DRP036: a locked mask that all samples of the batch share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor._finding import Code, Finding

if TYPE_CHECKING:
    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP036", "shared-by-batch", "a locked mask is shared by the batch", "error")

_BITS = 40.0
"""Samples share a mask if chance would make their masks equal once in 2**40 runs."""


def running(exam: Exam) -> Iterator[Finding]:
    """Find masks that are equal for all samples and not for all that a sample has.

    Samples lie along the first axis if a change of one changes its own outputs alone; where the
    same is true of the second axis, nothing is said.
    """
    seen: set[object] = set()
    suspects = [drop for drop in exam.trains[0].drops if drop.on and _shared(drop)]
    if not suspects or not exam.independent(0) or exam.independent(1):
        return
    for drop in suspects:
        if drop.key in seen or drop.shape[0] != exam.size or exam.size in drop.shape[1:2]:
            continue
        seen.add(drop.key)
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} has one mask for all {exam.size} samples of the batch: it is "
            "locked over the first axis, where the samples are",
            "tell it which axis is time (batch_first=True), or lock the mask over axis 1",
            drop=drop,
            evidence={"samples with one mask": exam.size, "dropped": _share(drop)},
        )


def _shared(drop: Drop) -> bool:
    """Whether the masks of all samples surely are one, which drops some and keeps some."""
    mask: Any = drop.mask
    if mask is None or mask.dropped.dim() < 2 or len(mask.dropped) < 2 or not 0.0 < mask.p < 1.0:
        return False
    dropped, kept = (mask.dropped & mask.visible).any(0), (~mask.dropped & mask.visible).any(0)
    if bool((dropped & kept).any()) or not bool(dropped.any() and kept.any()):
        return False
    # Draws may stand for whole channels or times: count the fewest that the axes allow.
    seen = mask.visible.unsqueeze(-1)
    rows = [seen.transpose(1, axis).flatten(2).any(2).sum(0) for axis in range(1, seen.dim() - 1)]
    draws = min(int((row - 1).clamp(min=0).sum()) for row in rows)
    return draws * -math.log2(mask.p**2 + (1.0 - mask.p) ** 2) >= _BITS


def _share(drop: Drop) -> float:
    mask: Any = drop.mask
    return float(mask.dropped.float().mean())
