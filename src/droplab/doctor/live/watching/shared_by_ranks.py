"""DRP042: two ranks drop the same elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from droplab.doctor.finding import Finding
from droplab.doctor.live._masks import Mask

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP042"
_MASKS = 4


def check(watch: Watch) -> Iterator[Finding]:
    """Gather the first masks of every rank and compare them with this rank's."""
    if not watch.ranks:
        return
    mine = [
        drop.mask
        for item in watch.passes
        if item.trained
        for drop in item.drops
        if drop.mask is not None
    ][:_MASKS]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, [_packed(mask) for mask in mine])
    rank = torch.distributed.get_rank()
    equal = [
        other
        for other, theirs in enumerate(gathered)
        if other != rank and _equal(mine, [Mask(*item) for item in theirs])
    ]
    if equal:
        yield watch.finding(
            CODE,
            f"rank {rank} draws the same masks as rank {', '.join(map(str, equal))}",
            "add the rank to the seed, after the model is built: torch.manual_seed(seed + rank)",
            evidence={"ranks with equal masks": [rank, *equal]},
        )


def _packed(mask: Mask) -> tuple[Tensor, Tensor, float, bool]:
    return mask.dropped.cpu(), mask.visible.cpu(), mask.p, mask.by_row


def _equal(mine: list[Mask], theirs: list[Mask]) -> bool:
    pairs = [(_on_cpu(a), b) for a, b in zip(mine, theirs, strict=False)]
    pairs = [(a, b) for a, b in pairs if a.comparable(b)]
    return bool(pairs) and all(a.same(b) for a, b in pairs)


def _on_cpu(mask: Mask) -> Mask:
    return Mask(mask.dropped.cpu(), mask.visible.cpu(), mask.p, mask.by_row)
