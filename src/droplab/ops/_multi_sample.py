"""Several dropout masks on one batch of features."""

from __future__ import annotations

from torch import Tensor

from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._dropout import dropout


def multi_sample_dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    samples: int = 8,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `samples` copies of `x` stacked on a new first axis, each with its own mask.

    Put it in front of the classifier, whose layers take leading axes as they are, and average the
    losses of the samples: the features are computed once and learned from S times.

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping: a float, or a float tensor of shape ().
        samples: Number of masks S, at least 1.
        training: If false, one copy without a mask is returned, (1, *x.shape).
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (...) to (S, ...).

    Returns:
        A tensor of the dtype of `x`.

    Raises:
        ArgumentError: If `samples` is not a positive integer, or as `dropout` does.

    Randomness:
        As `dropout`, for the stacked tensor.

    Source:
        Inoue, "Multi-Sample Dropout for Accelerated Training and Better Generalization",
        arXiv:1905.09788 (2019).

    Example:
        >>> import torch
        >>> multi_sample_dropout(torch.ones(4, 3), samples=5).shape
        torch.Size([5, 4, 3])
    """
    where = "multi_sample_dropout"
    samples = check.check_samples(samples, where)
    if prologue.is_off(p, training, x, where):
        return x.unsqueeze(0) if not training else x.expand(samples, *x.shape).clone()
    return dropout(x.expand(samples, *x.shape), p, seed=seed, key=key)
