"""Several dropout masks on one batch of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer
from droplab.ops.arguments import check_samples


class MultiSampleDropout(StochasticLayer):
    """Stacks several copies of its input, each with its own mask, for one classifier behind it.

    Put it in front of the classifier, whose layers take leading axes as they are, and average the
    losses of the samples by `multi_sample_loss`. In eval mode there is one copy without a mask, so
    `classifier(drop(features)).mean(0)` predicts in both modes.

    Args:
        p: Probability of dropping; can be assigned to later.
        samples: Number of masks S.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (...) to (S, ...) when training, to (1, ...) in eval mode.

    Raises:
        ArgumentError: As `Dropout`; if `samples` is not a positive integer.

    Randomness:
        One key a call, as `Dropout`, for the stacked tensor.

    Source:
        Inoue, "Multi-Sample Dropout for Accelerated Training and Better Generalization",
        arXiv:1905.09788 (2019).

    Example:
        >>> MultiSampleDropout(0.5, 5)(torch.ones(4, 3)).shape
        torch.Size([5, 4, 3])
    """

    def __init__(self, p: float = 0.5, samples: int = 8, *, seed: int | None = None) -> None:
        super().__init__(p, seed)
        self.samples = check_samples(samples, self.label)

    def forward(self, input: Tensor) -> Tensor:
        key = self.next_key() if self.training else None
        return ops.multi_sample_dropout(input, self.rate, self.samples, self.training, key=key)

    def _describe(self) -> list[str]:
        first, *rest = super()._describe()
        return [first, f"samples={self.samples}", *rest]


def multi_sample_loss(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, target: Tensor
) -> Tensor:
    """Return the mean over the samples of `loss(outputs[s], target)`.

    Args:
        loss: A loss function, e.g. `torch.nn.functional.cross_entropy`.
        outputs: What the classifier made of the samples.
        target: One target for all of them.

    Shape:
        outputs: (S, B, ...); target: what `loss` takes.

    Returns:
        What `loss` returns.

    Example:
        >>> outputs = torch.zeros(5, 4, 3)
        >>> target = torch.zeros(4, dtype=torch.int64)
        >>> multi_sample_loss(torch.nn.functional.cross_entropy, outputs, target)
        tensor(1.0986)
    """
    return torch.stack([loss(output, target) for output in outputs]).mean(0)
