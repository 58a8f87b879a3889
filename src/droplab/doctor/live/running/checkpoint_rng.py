"""DRP043: recomputation in the backward pass draws another mask than the forward pass did."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam, label

CODE = "DRP043"


def check(exam: Exam) -> Iterator[Finding]:
    """Compare the masks of recomputed dropouts with those of the forward pass."""
    trace = exam.trains[0]
    seen: set[object] = set()
    for again in trace.redone:
        if again.key in seen or again.mask is None:
            continue
        first = [drop.mask for drop in trace.drops if drop.key == again.key]
        masks = [mask for mask in first if mask is not None and mask.comparable(again.mask)]
        if not masks or any(mask.same(again.mask) for mask in masks):
            continue
        seen.add(again.key)
        yield exam.finding(
            CODE,
            f"{label(again, exam.name(again.module))} has another mask when activation "
            "checkpointing computes it again: the gradients belong to no forward pass",
            "leave preserve_rng_state at True",
            drop=again,
            evidence={"recomputed with another mask": True},
        )
