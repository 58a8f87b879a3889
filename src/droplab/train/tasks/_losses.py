"""Losses: a number for every example, from which any executor makes that of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.errors import ArgumentError


class Loss:
    """A loss, as a number for each of B examples.

    Args:
        function: (outputs (B, ...), targets (B, ...)) -> (B,).
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._function = function

    def terms(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of every example times its weight, and the weights; None: all weigh 1."""
        return self._function(outputs, targets), None

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean over the batch."""
        losses, weights = self.terms(outputs, targets)
        return losses.mean() if weights is None else losses.sum() / total(weights)


def total(weights: Tensor, dim: int = 0) -> Tensor:
    """Return the sum of weights, never 0: a batch in which nothing counts has the loss 0."""
    return weights.sum(dim).clamp(min=torch.finfo(weights.dtype).tiny)


class CrossEntropy(Loss):
    """Cross entropy of logits, (B, C) against class numbers (B,) or (B, T, C) against (B, T).

    The mean over a batch is that of `torch.nn.functional.cross_entropy`: over examples, or tokens,
    by their weights.

    Args:
        label_smoothing: As in torch.
        weight: Weight of each class; None: all weigh the same.
        ignore_index: Targets that count for nothing; None: every target is a class.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
    ) -> None:
        self.smoothing, self.weight, self.ignored = label_smoothing, weight, ignore_index
        self._index = -100 if ignore_index is None else ignore_index

    def _weight(self, outputs: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        if self.weight.device != outputs.device or self.weight.dtype != outputs.dtype:
            self.weight = self.weight.to(outputs)
        return self.weight

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, by torch's own operation where it gives the same."""
        if self.weight is None and self.ignored is None and outputs.ndim == 2:
            return F.cross_entropy(outputs, targets, label_smoothing=self.smoothing)
        return super().mean(outputs, targets)

    def terms(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of every example times its weight, (B,), and the weights."""
        weight, many = self._weight(outputs), targets.ndim > 1
        losses = F.cross_entropy(
            outputs.flatten(0, -2) if many else outputs,
            targets.flatten() if many else targets,
            weight,
            reduction="none",
            ignore_index=self._index,
            label_smoothing=self.smoothing,
        )
        if many:
            losses = losses.view(targets.shape)
        if weight is None and self.ignored is None:
            return (losses.flatten(1).mean(1) if many else losses), None
        counts = targets != self._index
        if weight is None:
            weights = counts.to(losses.dtype)
        else:
            weights = torch.where(counts, weight[targets.clamp(min=0, max=len(weight) - 1)], 0.0)
        if many:
            losses, weights = losses.flatten(1).sum(1), weights.flatten(1).sum(1)
        return losses, weights


def per_example(losses: Tensor) -> Tensor:
    """Return the mean over whatever an example has several of, (B,)."""
    return losses if losses.ndim == 1 else losses.flatten(1).mean(1)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of every example, the mean over its outputs."""
    return per_example(F.mse_loss(outputs, targets, reduction="none"))


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the absolute error of every example, the mean over its outputs."""
    return per_example(F.l1_loss(outputs, targets, reduction="none"))


def huber(outputs: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    """Return Huber's loss of every example: squared below `delta`, absolute above."""
    return per_example(F.huber_loss(outputs, targets, delta=delta, reduction="none"))


def pinball(outputs: Tensor, targets: Tensor, q: float = 0.5) -> Tensor:
    """Return the loss whose least mean is at the quantile `q` of the targets."""
    off = targets - outputs
    return per_example(torch.maximum(q * off, (q - 1) * off))


def bce(outputs: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Return the binary cross entropy of every example's logits, the mean over its labels.

    Args:
        outputs: Logits (B,) or (B, L).
        targets: 0 and 1, alike.
        pos_weight: What a target 1 counts, (1,) or (L,), as in torch; None: as much as 0.
    """
    targets = targets.to(outputs.dtype)
    weight = None if pos_weight is None else pos_weight.to(outputs)
    losses = F.binary_cross_entropy_with_logits(
        outputs, targets, reduction="none", pos_weight=weight
    )
    return per_example(losses)


def own(function: Callable[[Tensor, Tensor], Tensor], where: str) -> Loss:
    """Return somebody's own loss, whose result is looked at wherever it is called.

    Raises:
        ArgumentError: When it is called, if it does not give one number for every example.
    """

    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = function(outputs, targets)
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        if shape != (len(targets),):
            one = shape == ()
            raise ArgumentError(
                f"loss: expected one number for each example from {where}, shape "
                f"({len(targets)},), got {'one number for the batch' if one else shape}; "
                + ("take reduction='none'" if one else "take the mean over all other dimensions")
                + ", since replicas that train together have a loss each"
            )
        return losses

    return Loss(checked)
