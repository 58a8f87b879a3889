"""Loss, accuracy and calibration error of classifiers, accumulated over batches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

ECE_BINS = 15
"""Number of equal-width confidence bins of the expected calibration error."""

_NAMES = ("loss", "accuracy", "ece")


Score = Mapping[str, float]
"""What was measured over a set of examples, by name. Of classifiers: "loss", the mean cross entropy
in nats; "accuracy", the fraction of examples whose largest logit is at the label; "ece", the
expected calibration error (Guo et al., 2017, eq. 3) with 15 bins of equal width."""


class Meter:
    """Accumulates one `Score` for each of K members over batches that all of them saw.

    Args:
        members: How many there are, K.
        device: Where the logits come from.

    Example:
        >>> meter = Meter(2)
        >>> logits = torch.tensor([[[4.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [4.0, 0.0]]])
        >>> meter.add(logits, torch.tensor([0, 0]))
        >>> [score["accuracy"] for score in meter.scores()]
        [0.5, 1.0]
    """

    def __init__(self, members: int = 1, device: torch.device | None = None) -> None:
        self._members = members
        self._count = 0
        self._sums = torch.zeros(2, members, dtype=torch.float64, device=device)
        self._size = members * ECE_BINS
        self._bins = torch.zeros(2, self._size, dtype=torch.float64, device=device)
        self._first = torch.arange(members, device=device)[:, None] * ECE_BINS

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Add logits of shape (K, B, C) for integer targets of shape (B,)."""
        log_probabilities = F.log_softmax(logits.float(), dim=2)
        index = targets.expand(self._members, -1)[:, :, None]
        losses = -log_probabilities.gather(2, index).squeeze(2)
        confidence, predicted = log_probabilities.max(dim=2)
        confidence = confidence.exp().double()
        correct = (predicted == targets).double()
        self._count += len(targets)
        self._sums[0] += losses.double().sum(1)
        self._sums[1] += correct.sum(1)
        # bins are (0, 1/15], (1/15, 2/15], ...: the upper edge belongs to the bin
        bins = (confidence * ECE_BINS).ceil().long().sub_(1).clamp_(0, ECE_BINS - 1) + self._first
        for row, weights in enumerate((confidence, correct)):
            flat = weights.reshape(-1)
            self._bins[row] += torch.bincount(bins.reshape(-1), flat, minlength=self._size)

    def scores(self) -> list[Score]:
        """Return every member's score of what was added so far; NaN if nothing was."""
        if self._count == 0:
            return [dict.fromkeys(_NAMES, float("nan"))] * self._members
        gaps = (self._bins[0] - self._bins[1]).abs().view(self._members, ECE_BINS).sum(1)
        table = (torch.stack((*self._sums, gaps)) / self._count).T.tolist()
        return [dict(zip(_NAMES, row, strict=True)) for row in table]
