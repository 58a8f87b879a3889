"""Binary classification: one logit for each example, (B,) or (B, 1), for targets 0 and 1, (B,)."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import DataError
from droplab.train.tasks._calibration import Calibration
from droplab.train.tasks._losses import Loss, bce
from droplab.train.tasks._shares import log_odds
from droplab.train.tasks._task import Meter, Task, Terms


class Binary(Task):
    """Yes or no: the loss is binary cross entropy, the score accuracy; above 0 a logit says 1."""

    name = "binary"
    usual = Loss(bce)
    answers_classes = True

    @classmethod
    def check_scored(cls, targets: Tensor, split: str) -> None:
        """Raise a DataError unless both classes are there."""
        if len(targets.unique()) < 2:
            raise DataError(
                f"{split} targets: expected examples of both classes, without which the area under "
                f"the ROC curve cannot be measured, got only {targets[:1].tolist()}; shuffle the "
                "data once before it is split, or give another split"
            )

    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the log odds of 1."""
        return log_odds(targets)

    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected."""
        count = len(targets)
        return f"one logit an example, of shape ({count},) or ({count}, 1),"

    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether there is one logit for each example."""
        return outputs.shape in (targets.shape, (*targets.shape, 1))

    def aligned(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits as (B,), since (B, 1) beside (B,) would make (B, B)."""
        return outputs.reshape(targets.shape)

    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return where the sign of the logit is that of the target."""
        return (self.aligned(outputs, targets) > 0) == (targets > 0.5), None

    def meter(self, members: int = 1, device: torch.device | None = None) -> BinaryMeter:
        """Return a new meter."""
        return BinaryMeter(self, members, device)


class BinaryMeter(Meter):
    """Loss, accuracy, area under the ROC curve and calibration error; keeps all logits."""

    def __init__(self, task: Task, members: int = 1, device: torch.device | None = None) -> None:
        super().__init__(task, members, device)
        self._correct = self.zeros()
        self._calibration = Calibration(members, device)
        self._logits: list[Tensor] = []
        self._positive: list[Tensor] = []

    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (K, B)."""
        positive = targets > 0.5
        correct = ((outputs > 0) == positive).double()
        self._correct += correct.sum(1)
        self.keep_terms("accuracy", correct)
        confidence = outputs.abs().double().sigmoid()
        self._calibration.add(confidence, correct)
        if self.answers is not None:
            self.answers.add(confidence, correct, positive, 2)
        self._logits.append(outputs)
        self._positive.append(positive[0])

    def results(self) -> list[Tensor]:
        """Return accuracy, area under the curve and calibration error."""
        area = auroc(torch.cat(self._logits, 1), torch.cat(self._positive))
        return [self._correct / self.count, area, self._calibration.error()]


def auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the area under the ROC curve: how often a positive example ranks above another one.

    It is the statistic of Mann and Whitney over the product of the two counts; equal scores count
    half. NaN where there are not both kinds of example, or a score is NaN.

    Args:
        scores: (K, N).
        positive: bool (N,).

    Example:
        >>> auroc(torch.tensor([[0.1, 0.4, 0.35, 0.8]]), torch.tensor([False, False, True, True]))
        tensor([0.7500], dtype=torch.float64)
    """
    ordered = scores.sort(dim=1).values
    own = scores[:, positive].contiguous()
    # ranks from 1, the mean of those of equal scores
    below = torch.searchsorted(ordered, own, right=False)
    ranks = (below + torch.searchsorted(ordered, own, right=True) + 1).double() / 2
    ones = own.shape[1]
    area = (ranks.sum(1) - ones * (ones + 1) / 2) / (ones * (scores.shape[1] - ones))
    return torch.where(scores.isnan().any(1), float("nan"), area)
