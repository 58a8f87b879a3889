"""What a dropout did to a tensor: its mask, and what the mask did to the moments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

_ALPHA = -1.7580993408473766
_BITS = 40.0
"""Two masks count as one only if chance would make them equal once in 2**40 runs."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The dropped elements that can be seen: an input of zero hides what happened to it."""

    dropped: Tensor
    visible: Tensor
    p: float
    by_row: bool = False
    """Whether one draw decides a whole sample."""

    def cpu(self) -> Mask:
        """Return the mask in the main memory."""
        return Mask(self.dropped.cpu(), self.visible.cpu(), self.p, self.by_row)

    def bits(self, other: Mask) -> float:
        """Return how unlikely it is, in bits, that two independent masks agree where both show."""
        if self.dropped.shape != other.dropped.shape or not 0.0 < self.p < 1.0:
            return 0.0
        agree = self.p * self.p + (1.0 - self.p) * (1.0 - self.p)
        return self._units(self.visible & other.visible) * -math.log2(agree)

    def comparable(self, other: Mask) -> bool:
        """Return whether equality of two masks would mean something."""
        return self.bits(other) >= _BITS

    def same(self, other: Mask) -> bool:
        """Return whether two masks are equal beyond chance wherever both can be seen."""
        if not self.comparable(other):
            return False
        both = self.visible & other.visible
        return bool(torch.equal(self.dropped & both, other.dropped & both))

    def _units(self, visible: Tensor) -> int:
        """Return how many independent draws are surely among the visible elements."""
        if self.by_row:
            return int(visible.flatten(1).any(1).sum()) if visible.dim() > 1 else 1
        if visible.dim() < 3:
            return int(visible.sum())
        # Channel dropout draws once a (sample, channel): count those with something visible.
        return int(visible.flatten(2).any(2).sum())


@dataclass(frozen=True)
class Seen:
    """What was observed of one call."""

    silent: bool
    mask: Mask | None
    moments: tuple[float, float, float, float]
    correlation: float | None
    zero_samples: float


def observe(
    name: str, p: float | None, on: bool, before: Tensor, after: Tensor, *, measure: bool
) -> Seen:
    """Return what a dropout did, from its input and output."""
    before, after = before.detach(), after.detach()
    silent = before.numel() > 0 and torch.equal(before, after)
    mask: Mask | None = None
    if on and not silent and p is not None and after.is_floating_point():
        if "lpha" in name:
            a = ((1 - p) * (1 + p * _ALPHA**2)) ** -0.5
            low = torch.tensor(a * _ALPHA * (1 - p), dtype=after.dtype, device=after.device)
            dropped = torch.isclose(after, low, rtol=1e-4)
            mask = Mask(dropped, torch.ones_like(dropped), p)
        else:
            visible = before != 0
            by_row = re.search("path|depth|layer", name, re.IGNORECASE) is not None
            mask = Mask((after == 0) & visible, visible, p, by_row)
    if not measure or not before.is_floating_point() or before.numel() < 2:
        return Seen(silent, mask, (0.0, 0.0, 0.0, 0.0), None, 0.0)
    moments = (
        float(before.float().mean()),
        float(before.float().var(correction=0)),
        float(after.float().mean()),
        float(after.float().var(correction=0)),
    )
    zero = 0.0
    if before.dim() > 1:
        alive = before.flatten(1).ne(0).any(1)
        dead = after.flatten(1).eq(0).all(1)
        zero = float((alive & dead).float().mean())
    return Seen(silent, mask, moments, correlation(before), zero)


def correlation(x: Tensor) -> float | None:
    """Return the correlation of neighbours along the last axis of a (B, C, H, W) tensor.

    Channels are centred one by one, so that a constant difference between channels does not count.

    Example:
        >>> ramp = torch.arange(64.0).reshape(1, 1, 8, 8)
        >>> round(correlation(ramp), 2)
        1.0
        >>> correlation(torch.ones(4, 8)) is None
        True
    """
    if x.dim() < 4 or x.shape[-1] < 2:
        return None
    x = x.float()
    x = x - x.mean(dim=(0, *range(2, x.dim())), keepdim=True)
    a, b = x[..., :-1], x[..., 1:]
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / scale) if scale > 0 else None
