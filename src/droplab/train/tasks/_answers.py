"""How sure classifiers were of their answers, how often they were right, and on which classes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from droplab.train.tasks._calibration import ECE_BINS, bin_of

MOST_CLASSES = 100
"""Of more classes there are too few examples each to say anything of one."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers of one member on a split, counted.

    Attributes:
        bins: For each bin of confidence, from the lowest on: how many answers are in it, the sum of
            their confidences, and how many are right.
        classes: For each class: how many examples have it, and how many of these are found; empty
            where there are more than `MOST_CLASSES`.
    """

    bins: tuple[tuple[int, float, int], ...]
    classes: tuple[tuple[int, int], ...]


class AnswerCounts:
    """Counts the answers of K members over batches.

    Args:
        members: How many there are, K.
        device: Where the numbers come from.

    Example:
        >>> counts = AnswerCounts(1, None)
        >>> right = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> counts.add(torch.tensor([[0.9, 0.6]]).double(), right, torch.tensor([[0, 1]]), 2)
        >>> counts.of_members()[0].classes
        ((1, 1), (1, 0))
    """

    def __init__(self, members: int, device: torch.device | None) -> None:
        self._members = members
        self._bins = torch.zeros(3, members * ECE_BINS, dtype=torch.float64, device=device)
        self._classes: Tensor | None = None

    def add(self, confidence: Tensor, correct: Tensor, targets: Tensor, classes: int) -> None:
        """Add a batch.

        Args:
            confidence: float64 (K, B), in [0, 1].
            correct: float64 (K, B), 1 where the answer is right.
            targets: (K, B), the class of each example.
            classes: How many classes there are.
        """
        first = torch.arange(self._members, device=confidence.device)[:, None]
        bins = (bin_of(confidence) + first * ECE_BINS).reshape(-1)
        for row, weights in enumerate((torch.ones_like(confidence), confidence, correct)):
            self._bins[row] += torch.bincount(bins, weights.reshape(-1), self._bins.shape[1])
        if classes > MOST_CLASSES:
            return
        size = self._members * classes
        if self._classes is None:
            self._classes = torch.zeros(2, size, dtype=torch.float64, device=confidence.device)
        known = ((targets >= 0) & (targets < classes)).reshape(-1)  # others count for nothing
        at = (targets.long() + first * classes).reshape(-1)[known]
        for row, weights in enumerate((torch.ones_like(correct), correct)):
            self._classes[row] += torch.bincount(at, weights.reshape(-1)[known], size)

    def of_members(self) -> list[Answers]:
        """Return what was counted of each member."""
        bins = self._bins.view(3, self._members, ECE_BINS).permute(1, 2, 0).tolist()
        classes: list[list[list[float]]] = [[] for _ in range(self._members)]
        if self._classes is not None:
            classes = self._classes.view(2, self._members, -1).permute(1, 2, 0).tolist()
        return [
            Answers(
                tuple((int(n), confidence, int(right)) for n, confidence, right in own),
                tuple((int(n), int(right)) for n, right in found),
            )
            for own, found in zip(bins, classes, strict=True)
        ]
