"""Regression: predictions (B,) or (B, 1) for targets (B,), or (B, D) for (B, D)."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from droplab.errors import DataError
from droplab.train.tasks._losses import Loss, per_example, squared
from droplab.train.tasks._task import Meter, Task, Terms


class Regression(Task):
    """One or several numbers: the loss is the squared error, the score its root."""

    name = "regression"
    usual = Loss(squared)
    counts = False
    means = ("loss", "mae")

    @classmethod
    def check_scored(cls, targets: Tensor, split: str) -> None:
        """Raise a DataError if the targets of an output are all the same."""
        table = targets.reshape(len(targets), -1)
        same = (table == table[:1]).all(0)
        if bool(same.any()):
            column = int(same.nonzero()[0])
            where = f" in column {column}" if table.shape[1] > 1 else ""
            raise DataError(
                f"{split} targets: expected numbers that differ, without which R squared cannot be "
                f"measured, got {float(table[0, column]):g} in all {len(table)} examples{where}"
            )

    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the mean of the targets."""
        return targets.float().mean(0)

    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected."""
        count = len(targets)
        if targets.ndim == 1:
            return f"one prediction an example, of shape ({count},) or ({count}, 1),"
        return f"predictions of shape {tuple(targets.shape)}"

    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether there is a prediction for each target."""
        if targets.ndim == 1:
            return outputs.shape in (targets.shape, (*targets.shape, 1))
        return outputs.shape == targets.shape

    def aligned(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return predictions as targets are, since (B, 1) beside (B,) would make (B, B)."""
        return outputs.reshape(targets.shape)

    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return the squared error of each example."""
        return squared(self.aligned(outputs, targets).double(), targets.double()), None

    def score_of(self, mean: Tensor) -> Tensor:
        """Return the root."""
        return mean.sqrt()

    def meter(self, members: int = 1, device: torch.device | None = None) -> RegressionMeter:
        """Return a new meter."""
        return RegressionMeter(self, members, device)


def gaussian_nll(rmse: float, training_rmse: float) -> float:
    r"""Return the mean negative log likelihood of targets under a normal distribution.

    It lies about each prediction, with one variance for all: the mean squared error on the training
    examples in eval mode, which is what likelihood says of it there. So a network that has learned
    its training examples by heart is too sure, and pays for it on others.

    \log(2 \pi s^2) / 2 + e^2 / (2 s^2), with the error s on the training examples and e on these.

    Args:
        rmse: Root mean squared error on the examples.
        training_rmse: The same on the training examples.

    Example:
        >>> round(gaussian_nll(2.0, 2.0), 4), round(gaussian_nll(2.0, 0.5), 4)
        (2.1121, 8.2258)
    """
    # by products, since a power that is too large is an error in Python
    variance = max(training_rmse * training_rmse, sys.float_info.min)
    return (math.log(2 * math.pi * variance) + rmse * rmse / variance) / 2


class RegressionMeter(Meter):
    """Loss, root mean squared error, mean absolute error, and R squared.

    Errors are means over examples and outputs. R squared is 1 - errors / spread of the targets on
    the measured split, the mean over outputs; NaN where an output's targets are all the same.
    """

    def __init__(self, task: Task, members: int = 1, device: torch.device | None = None) -> None:
        super().__init__(task, members, device)
        self._squared, self._absolute = self.zeros(1), self.zeros()
        self._moments: tuple[Tensor, Tensor, Tensor] | None = None

    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add predictions (K, B) or (K, B, D)."""
        y = targets[0].double().reshape(targets.shape[1], -1)
        off = outputs.double().reshape(self.members, len(y), -1) - y
        self._squared = self._squared + off.square().sum(1)
        absolute = off.abs().mean(2)
        self._absolute += absolute.sum(1)
        self.keep_terms("mae", absolute)
        # sums of squares about a number nearby, so that the difference of two large ones is exact
        zero = (y.mean(0), torch.zeros_like(y[0]), torch.zeros_like(y[0]))
        shift, first, second = self._moments or zero
        moved = y - shift
        self._moments = shift, first + moved.sum(0), second + moved.square().sum(0)

    def results(self) -> list[Tensor]:
        """Return the root mean squared error, the mean absolute error and R squared."""
        assert self._moments is not None  # something was added
        _, first, second = self._moments
        spread = second - first.square() / self.count
        flat = spread <= 1e-12 * second
        explained = 1 - self._squared / torch.where(flat, float("nan"), spread)
        rmse = (per_example(self._squared) / self.count).sqrt()
        return [rmse, self._absolute / self.count, explained.mean(1)]
