"""Outputs that stand for the shares of classes: what a constant answer has."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.train.tasks._losses import CrossEntropy, Loss

_HALF = 0.5
"""What is added to every count, so that a class of which there is no training example is not
impossible."""


def log_odds(targets: Tensor) -> Tensor:
    """Return the log odds of 1 among targets (N, ...), each column by itself."""
    shares = (targets.float().sum(0) + _HALF) / (len(targets) + 2 * _HALF)
    return torch.logit(shares)


def log_shares(targets: Tensor, others: Tensor, loss: Loss) -> Tensor:
    """Return the logarithms of the shares of classes among targets (N,), (C,).

    Args:
        targets: Class numbers.
        others: More of them, which say how many classes there are, too.
        loss: The loss, which may have a weight for each class.
    """
    classes = 1 + int(torch.cat([targets, others]).max())
    if isinstance(loss, CrossEntropy) and loss.weight is not None:
        classes = len(loss.weight)
    counts = targets.bincount(minlength=classes).float() + _HALF
    return counts.log() - counts.sum().log()
