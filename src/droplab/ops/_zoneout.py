"""Zoneout: hidden units that keep their old value."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._noise import keep_mask
from droplab.probability import check_p


def zoneout(
    previous: Tensor,
    current: Tensor,
    p: float | Tensor = 0.1,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return the new state, with units at random left at their previous value.

    $$h_t = d\,h_{t-1} + (1 - d)\,\tilde h_t, \qquad d \sim \mathrm{Bernoulli}(p)$$

    and, when not training, its expectation $p\,h_{t-1} + (1 - p)\,\tilde h_t$.

    Args:
        previous: State before the step: float64, float32, bfloat16 or float16.
        current: State that the step computed, of the same shape and dtype.
        p: Probability that a unit keeps its previous value: a float, or a float tensor of shape ().
        training: If false, the expectation is returned, which is not the identity.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        Any; the output has that of `current`.

    Returns:
        A tensor like `current`; `current` for p = 0 and `previous` for p = 1.

    Raises:
        ArgumentError: If the two states differ in shape or dtype, or as `dropout` does.

    Randomness:
        As `dropout` when training; none else.

    Source:
        Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
        ICLR 2017.

    Example:
        >>> zoneout(torch.zeros(4), torch.ones(4), 0.25, training=False)
        tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """
    where = "zoneout"
    check.check_input(current, where)
    if previous.shape != current.shape or previous.dtype != current.dtype:
        raise ArgumentError(
            f"{where}: expected two states of one shape and dtype, got {tuple(previous.shape)} "
            f"{previous.dtype} and {tuple(current.shape)} {current.dtype}; start from zeros_like"
        )
    if not isinstance(p, Tensor) and check_p(p, where=f"{where}: p") == 0.0:
        return current
    if not training:
        rate = prologue.rate_tensor(p, current, where)
        wide = rate.dtype
        return torch.lerp(current.to(wide), previous.to(wide), rate).to(current.dtype)
    key = prologue.resolve_key(seed, key, where)
    keep = keep_mask(tuple(current.shape), p, key=key, device=current.device)
    return torch.where(keep, current, previous)
