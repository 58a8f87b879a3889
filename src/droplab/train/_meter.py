"""Loss, accuracy and calibration error of classifiers, accumulated over batches."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

ECE_BINS = 15
"""Number of equal-width confidence bins of the expected calibration error."""


@dataclasses.dataclass(frozen=True)
class Score:
    """Mean loss, accuracy and expected calibration error over a set of examples.

    Attributes:
        loss: Mean cross entropy, in nats.
        accuracy: Fraction of examples whose largest logit is at the label, in [0, 1].
        ece: Expected calibration error (Guo et al., 2017, eq. 3) with 15 bins of equal width.
    """

    loss: float
    accuracy: float
    ece: float


class Meter:
    """Accumulates a `Score` over batches of logits.

    Example:
        >>> meter = Meter()
        >>> meter.add(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0]))
        >>> meter.score().accuracy
        0.5
    """

    def __init__(self) -> None:
        self._count = 0
        self._loss = 0.0
        self._correct = 0.0
        self._bins = torch.zeros(3, ECE_BINS, dtype=torch.float64)  # count, confidence, correct

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits of shape (B, C), integer targets of shape (B,)."""
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        losses = F.nll_loss(log_probabilities, targets, reduction="none")
        confidence, predicted = log_probabilities.max(dim=1)
        confidence = confidence.exp().double()
        correct = (predicted == targets).double()
        self._count += len(targets)
        self._loss += losses.double().sum().item()
        self._correct += correct.sum().item()
        # bins are (0, 1/15], (1/15, 2/15], ...: the upper edge belongs to the bin
        bins = (confidence * ECE_BINS).ceil().long().sub_(1).clamp_(0, ECE_BINS - 1)
        for row, weights in enumerate((None, confidence, correct)):
            self._bins[row] += torch.bincount(bins, weights, minlength=ECE_BINS).cpu()

    def score(self) -> Score:
        """Return the score of everything added so far; NaN if nothing was."""
        if self._count == 0:
            return Score(float("nan"), float("nan"), float("nan"))
        gap = (self._bins[1] - self._bins[2]).abs().sum().item()
        return Score(self._loss / self._count, self._correct / self._count, gap / self._count)
