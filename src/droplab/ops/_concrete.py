"""Dropout with a rate that is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._noise import uniform


def concrete_dropout(
    x: Tensor,
    logit: Tensor,
    training: bool = True,
    *,
    temperature: float = 0.1,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return `x` dropped by a soft mask through which the rate gets a gradient.

    $$y = \frac{x\,(1 - z)}{1 - p}, \qquad
      z = \sigma\!\left(\frac{\ell + \log u - \log(1 - u)}{t}\right), \qquad p = \sigma(\ell)$$

    Args:
        x: float64, float32, bfloat16 or float16.
        logit: Logit $\ell$ of the rate, a float tensor of shape (); gradients flow to it.
        training: If false, x comes back as it is.
        temperature: t > 0; towards 0 the mask becomes that of `dropout`.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        Any; the output has that of x.

    Returns:
        A tensor like `x`. The soft mask is kept for the backward pass.

    Raises:
        ArgumentError: If the temperature is not positive, `logit` is no float tensor of shape (),
            or x is not of an accepted dtype.

    Randomness:
        As `dropout`; one uniform number an element.

    Source:
        Gal, Hron and Kendall, "Concrete Dropout", NIPS 2017, equation 5.

    Example:
        >>> logit = torch.tensor(-2.0, requires_grad=True)
        >>> concrete_dropout(torch.ones(8), logit, seed=1).sum().backward()
        >>> logit.grad is not None
        True
    """
    where = "concrete_dropout"
    check.check_input(x, where)
    check.check_temperature(temperature, where)
    if not isinstance(logit, Tensor) or not logit.is_floating_point() or logit.dim():
        raise ArgumentError(
            f"{where}: logit: expected a float tensor of shape (), got {logit!r}; use "
            "torch.logit(torch.tensor(p))"
        )
    if not training:
        return x
    key = prologue.resolve_key(seed, key, where)
    wide = prologue.wide(x.dtype)
    u = uniform(tuple(x.shape), key=key, dtype=wide, device=x.device)
    dropped = torch.sigmoid((logit.to(wide) + torch.logit(u)) / temperature)
    # 1 / (1 - sigmoid(l)) = 1 + exp(l), without the cancellation.
    return (x.to(wide) * (1.0 - dropped) * (1.0 + logit.to(wide).exp())).to(x.dtype)
