"""Dropout that keeps the moments of self-normalising networks."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops._noise import keep_mask

SATURATION = -1.7580993408473766
"""The value -lambda alpha that SELU tends to on the left; what is dropped is set to it."""


def alpha_dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return `x` with elements set to SELU's saturation value, keeping mean and variance.

    $$y = a\,(x\,d + \alpha'(1 - d)) + b, \quad d \sim \mathrm{Bernoulli}(1 - p), \quad
      a = \bigl((1 - p)(1 + p\,\alpha'^2)\bigr)^{-1/2}, \quad b = -a\,p\,\alpha'$$

    with $\alpha' = -\lambda\alpha \approx -1.7581$. If x has mean 0 and variance 1, so has y.

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        Any; the output has that of x.

    Returns:
        A tensor like `x`; zeros for p = 1, as torch gives.

    Raises:
        ArgumentError: As `dropout` does.

    Randomness:
        As `dropout`, with the same mask for the same key.

    Source:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-Normalizing Neural Networks", NIPS 2017,
        section "New Dropout Technique".

    Example:
        >>> torch.equal(alpha_dropout(torch.ones(3), 0.0), torch.ones(3))
        True
    """
    where = "alpha_dropout"
    if prologue.is_off(p, training, x, where):
        return x
    key = prologue.resolve_key(seed, key, where)
    return _apply(x, p, key, tuple(x.shape), where)


def feature_alpha_dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    batched: bool = True,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with whole channels set to SELU's saturation value; else as `alpha_dropout`.

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping a channel: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        batched: Whether the first axis counts samples.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (N, C, ...), or (C, ...) if not batched.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If x has too few axes, or as `dropout` does.

    Randomness:
        As `dropout`.

    Example:
        >>> y = feature_alpha_dropout(torch.zeros(2, 3, 4), seed=1)
        >>> bool((y == y[:, :, :1]).all())
        True
    """
    where = "feature_alpha_dropout"
    leading = 2 if batched else 1
    if x.dim() < leading:
        raise ArgumentError(
            f"{where}: expected {'(N, C, ...)' if batched else '(C, ...)'}, got shape "
            f"{tuple(x.shape)}; for one sample (C, ...) say batched=False, for single units use "
            "AlphaDropout"
        )
    if prologue.is_off(p, training, x, where):
        return x
    key = prologue.resolve_key(seed, key, where)
    return _apply(x, p, key, (*x.shape[:leading], *[1] * (x.dim() - leading)), where)


def _apply(
    x: Tensor, p: float | Tensor, key: Tensor, noise_shape: tuple[int, ...], where: str
) -> Tensor:
    rate = prologue.rate_tensor(p, x, where)
    keep = keep_mask(tuple(x.shape), p, key=key, noise_shape=noise_shape, device=x.device)
    spread = (1.0 - rate) * (1.0 + rate * SATURATION**2)
    a = torch.where(rate < 1.0, spread.rsqrt(), 0.0)
    b = -a * rate * SATURATION
    kept = x.to(prologue.wide(x.dtype)) * a + b
    return torch.where(keep, kept, a * SATURATION + b).to(x.dtype)
