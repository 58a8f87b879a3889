"""Classification: logits (B, C) for class numbers (B,)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.train.tasks._calibration import Calibration
from droplab.train.tasks._losses import CrossEntropy
from droplab.train.tasks._shares import log_shares
from droplab.train.tasks._task import Meter, Task, Terms


class Classification(Task):
    """One of several classes: the loss is cross entropy, the score accuracy."""

    name = "classification"
    usual = CrossEntropy()
    answers_classes = True

    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the logarithms of the shares of the classes."""
        return log_shares(targets, others, self.loss)

    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected."""
        return f"logits of shape ({len(targets)}, classes)"

    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether there are logits for each example."""
        return outputs.ndim == 2 and len(outputs) == len(targets)

    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return where the largest logit is at the label."""
        return outputs.argmax(1) == targets, None

    def meter(self, members: int = 1, device: torch.device | None = None) -> ClassificationMeter:
        """Return a new meter."""
        return ClassificationMeter(self, members, device)


class ClassificationMeter(Meter):
    """Loss, accuracy and calibration error of classifiers.

    Example:
        >>> meter = Classification().meter(2)
        >>> logits = torch.tensor([[[4.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [4.0, 0.0]]])
        >>> meter.add(logits, torch.tensor([0, 0]))
        >>> [score["accuracy"] for score in meter.scores()]
        [0.5, 1.0]
    """

    def __init__(self, task: Task, members: int = 1, device: torch.device | None = None) -> None:
        super().__init__(task, members, device)
        self._correct = self.zeros()
        self._calibration = Calibration(members, device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits of shape (K, B, C) for integer targets of shape (B,)."""
        log_probabilities = F.log_softmax(outputs.float(), dim=2)
        if self.task.plain:  # which the log probabilities have already
            index = targets.expand(self.members, -1)[:, :, None]
            self.count += len(targets)
            gained = log_probabilities.gather(2, index).squeeze(2)
            self._loss[0] -= gained.double().sum(1)
            self._loss[1] += len(targets)
            if self.parts is not None:
                self.keep_terms("loss", -gained)
            self._rest(log_probabilities, targets)
        else:
            super().add(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (K, B, C)."""
        self._rest(F.log_softmax(outputs, dim=2), targets)

    def _rest(self, log_probabilities: Tensor, targets: Tensor) -> None:
        confidence, predicted = log_probabilities.max(dim=2)
        confidence = confidence.exp().double()
        correct = (predicted == targets).double()
        self._correct += correct.sum(1)
        self.keep_terms("accuracy", correct)
        self._calibration.add(confidence, correct)
        if self.answers is not None:
            same = targets.expand(self.members, -1)
            self.answers.add(confidence, correct, same, log_probabilities.shape[2])

    def results(self) -> list[Tensor]:
        """Return accuracy and calibration error."""
        return [self._correct / self.count, self._calibration.error()]
