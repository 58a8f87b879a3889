"""Gaussian noise, multiplied and added."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._noise import normal


def gaussian_dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return `x` times Gaussian noise with the first two moments of Bernoulli dropout.

    $$y = x\,(1 + \sigma z), \qquad z \sim \mathcal{N}(0, 1), \qquad \sigma^2 = \frac{p}{1 - p}$$

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Rate of the dropout to be imitated, in [0, 1): a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        Any; the output has that of x.

    Returns:
        A tensor like `x`. The noise is kept for the backward pass.

    Raises:
        ArgumentError: If p is 1, where the variance has no limit, or as `dropout` does.

    Randomness:
        As `dropout`; one normal number an element.

    Source:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 15 (2014), section 10.

    Example:
        >>> gaussian_dropout(torch.zeros(3), 0.5).abs()
        tensor([0., 0., 0.])
    """
    where = "gaussian_dropout"
    if prologue.is_off(p, training, x, where):
        return x
    check.check_below_one(p, where)
    key = prologue.resolve_key(seed, key, where)
    rate = prologue.rate_tensor(p, x, where)
    noise = _noise(x, key) * torch.sqrt(rate / (1.0 - rate)) + 1.0
    return (x.to(noise.dtype) * noise).to(x.dtype)


def gaussian_noise(
    x: Tensor,
    std: float | Tensor = 0.1,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return `x` plus Gaussian noise.

    $$y = x + \sigma z, \qquad z \sim \mathcal{N}(0, 1)$$

    Args:
        x: float64, float32, bfloat16 or float16.
        std: Standard deviation of the noise, at least 0: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        Any; the output has that of x.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If `std` is negative, NaN or infinite, or as `dropout` does.

    Randomness:
        As `dropout`; one normal number an element.

    Source:
        Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation
        7 (1995).

    Example:
        >>> torch.equal(gaussian_noise(torch.ones(3), 0.0), torch.ones(3))
        True
    """
    where = "gaussian_noise"
    check.check_input(x, where)
    if not isinstance(std, Tensor):
        check.check_std(std, where)
        if std == 0:
            return x
    if not training:
        return x
    key = prologue.resolve_key(seed, key, where)
    noise = _noise(x, key)
    amount = std.to(noise.dtype) if isinstance(std, Tensor) else std
    return (x.to(noise.dtype) + noise * amount).to(x.dtype)


def _noise(x: Tensor, key: Tensor) -> Tensor:
    return normal(tuple(x.shape), key=key, dtype=prologue.wide(x.dtype), device=x.device)
