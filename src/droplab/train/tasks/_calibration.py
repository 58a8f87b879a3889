"""The expected calibration error, accumulated over batches."""

from __future__ import annotations

import torch
from torch import Tensor

ECE_BINS = 15
"""Number of equal-width confidence bins of the expected calibration error."""


class Calibration:
    """The expected calibration error (Guo et al., 2017, eq. 3) of K members, 15 equal bins.

    Args:
        members: How many there are, K.
        device: Where the numbers come from.
    """

    def __init__(self, members: int, device: torch.device | None) -> None:
        self._members, self._count = members, 0
        self._size = members * ECE_BINS
        self._bins = torch.zeros(2, self._size, dtype=torch.float64, device=device)
        self._first = torch.arange(members, device=device)[:, None] * ECE_BINS

    def add(self, confidence: Tensor, correct: Tensor) -> None:
        """Add confidences in [0, 1] and whether the prediction was right, float64 (K, B)."""
        self._count += confidence.shape[1]
        bins = bin_of(confidence) + self._first
        for row, weights in enumerate((confidence, correct)):
            flat = weights.reshape(-1)
            self._bins[row] += torch.bincount(bins.reshape(-1), flat, minlength=self._size)

    def error(self) -> Tensor:
        """Return the error of each member, (K,)."""
        gaps = (self._bins[0] - self._bins[1]).abs().view(self._members, ECE_BINS).sum(1)
        return gaps / self._count


def bin_of(confidence: Tensor) -> Tensor:
    """Return the bin of each confidence, from 0: (0, 1/15], (1/15, 2/15], and so on.

    Example:
        >>> bin_of(torch.tensor([0.01, 0.5, 1.0])).tolist()
        [0, 7, 14]
    """
    # the upper edge belongs to the bin
    return (confidence * ECE_BINS).ceil().long().sub_(1).clamp_(0, ECE_BINS - 1)
