"""Several labels at once: logits (B, L) for targets 0 and 1, (B, L)."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.train.tasks._losses import Loss, bce
from droplab.train.tasks._shares import log_odds
from droplab.train.tasks._task import Meter, Task, Terms


class Multilabel(Task):
    """Yes or no for each label: the loss is binary cross entropy, the score accuracy of labels."""

    name = "multilabel"
    usual = Loss(bce)
    counts = False

    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the log odds of each label."""
        return log_odds(targets)

    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected."""
        return f"one logit a label, of shape {tuple(targets.shape)},"

    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether there is one logit for each label."""
        return outputs.shape == targets.shape

    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return the share of labels that are right."""
        return ((outputs > 0) == (targets > 0.5)).double().mean(1), None

    def meter(self, members: int = 1, device: torch.device | None = None) -> MultilabelMeter:
        """Return a new meter."""
        return MultilabelMeter(self, members, device)


class MultilabelMeter(Meter):
    """Loss, accuracy over all labels, and the mean over labels of F1.

    The F1 of a label that nobody has and nobody predicts is 0, as scikit-learn has it.
    """

    def __init__(self, task: Task, members: int = 1, device: torch.device | None = None) -> None:
        super().__init__(task, members, device)
        self._correct = self.zeros()
        self._counts: Tensor | None = None

    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (K, B, L)."""
        predicted, actual = outputs > 0, targets > 0.5
        correct = (predicted == actual).double().mean(2)
        self._correct += correct.sum(1)
        self.keep_terms("accuracy", correct)
        both = (predicted & actual).sum(1).double()
        either = (predicted.sum(1) + actual.sum(1)).double()
        found = torch.stack((2 * both, either))
        self._counts = found if self._counts is None else self._counts + found

    def results(self) -> list[Tensor]:
        """Return accuracy and macro F1."""
        assert self._counts is not None  # something was added
        hits, either = self._counts
        return [self._correct / self.count, macro_f1(hits, either)]


def macro_f1(twice: Tensor, either: Tensor) -> Tensor:
    """Return the mean of F1 over the last axis, of twice the hits and of predicted plus actual."""
    return (twice / either.clamp(min=1)).mean(-1)
