"""How much a dropout has kept, as it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from droplab.placement._carried import carried
from droplab.placement._later import in_backward

_CERTAIN = 25.0
"""A deviation is far if chance makes it with a probability of 2 exp(-25), 3e-11, at most."""


@carried
class Kept:
    """Counts, at some calls of a dropout, which of its decisions were to keep.

    Calls 0, 1, 2, 4, 8 ... are looked at, so it costs about nothing a step. An input that is 0
    already tells nothing, and is not counted.

    Attributes:
        kept: Decisions to keep.
        seen: All decisions that were looked at.
    """

    def __init__(self) -> None:
        self.kept = self.seen = 0

    def look(self, number: int, x: Any, out: Any, shared: Sequence[int] = ()) -> None:
        """Look at one call.

        Args:
            number: Calls before this one.
            x: What came in.
            out: What went out.
            shared: Axes along which elements share a decision.
        """
        if number & (number - 1) or in_backward():
            return
        if torch._C._are_functorch_transforms_active():
            return  # inside vmap or grad no number can be read
        if not isinstance(x, Tensor) or not isinstance(out, Tensor) or x.shape != out.shape:
            return
        there, stays = x.detach() != 0, out.detach() != 0
        stays &= there
        if shared:
            there, stays = there.any(tuple(shared)), stays.any(tuple(shared))
        kept, seen = torch.stack((stays.sum(), there.sum())).tolist()
        self.kept += kept
        self.seen += seen

    def is_far(self, p: float) -> bool:
        """Say whether this is another part than a rate of p keeps, beyond chance (Bernstein)."""
        third, variance = _CERTAIN / 3, self.seen * p * (1 - p)
        most = third + math.sqrt(third**2 + 2 * _CERTAIN * variance) if variance else 0.5
        return abs(self.kept - self.seen * (1 - p)) > most
