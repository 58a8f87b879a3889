"""Passes that the model was not trained on: validation, or Monte Carlo samples."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from droplab.doctor.live._timeline import Pass

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch


def samples(watch: Watch, root: nn.Module) -> set[Pass]:
    """Return the untrained passes with the same input as the one before or after: samples."""
    found: set[Pass] = set()
    passes = list(watch.of(root))
    for trained, group in groupby(passes, key=lambda item: item.trained):
        run = list(group)
        if trained:
            continue
        for a, b in pairwise(run):
            if _same_input(a, b):
                found |= {a, b}
    return found


def validations(watch: Watch, root: nn.Module, *, grad: bool) -> list[Pass]:
    """Return untrained passes with dropout on that are no samples; none if nothing was trained."""
    if not watch.trained(root):
        return []
    sampled = samples(watch, root)
    return [
        item
        for item in watch.of(root)
        if not item.trained
        and item.training
        and item.grad is grad
        and item not in sampled
        and (item.drops_on or item.norm_trains)
    ]


def _same_input(a: Pass, b: Pass) -> bool:
    if a.given is None or b.given is None or a.given.shape != b.given.shape:
        return False
    return a.given is b.given or torch.equal(a.given, b.given)
