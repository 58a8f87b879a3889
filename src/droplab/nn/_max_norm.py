"""The max-norm constraint that belongs to the original recipe of dropout."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import (
    _ConvNd,  # pyright: ignore[reportPrivateUsage] # the common base of all convolutions
    _ConvTransposeNd,  # pyright: ignore[reportPrivateUsage]
)
from torch.nn.utils import parametrize

from droplab.errors import ArgumentError
from droplab.nn._drop_connect import DropConnect

Target = TypeVar("Target", nn.Module, Tensor)


@torch.no_grad()
def max_norm_(target: Target, limit: float = 3.0) -> Target:
    r"""Scale, in place, every unit's incoming weights whose norm exceeds `limit` back to it.

    $$w_i \leftarrow w_i \min\!\left(1, \frac{c}{\lVert w_i \rVert_2}\right)$$

    where $w_i$ is the vector of all weights that feed unit i: a row of a linear layer, a whole
    filter of a convolution. Call it after every `optimizer.step()`. Weights within the limit keep
    their bits.

    Args:
        target: A module, whose linear layers and convolutions are constrained (biases, embeddings,
            norms and recurrent layers are not), or one weight whose first axis counts the units.
        limit: The largest norm c, above 0; the paper uses 3 to 4.

    Returns:
        `target`.

    Raises:
        ArgumentError: If `limit` is not positive, a module holds nothing to constrain, a tensor
            has fewer than two axes, or a weight is computed by a foreign parametrization.

    Source:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 15 (2014), section 5.1.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0]]))
        >>> max_norm_(layer, 2.0).weight.norm(dim=1)
        tensor([2.0000, 0.1000], grad_fn=<...>)
    """
    if not (math.isfinite(limit) and limit > 0):
        raise ArgumentError(
            f"max_norm_: limit must be a positive number, got {limit!r}; the paper uses 3 to 4"
        )
    if isinstance(target, Tensor):
        if target.ndim < 2:
            raise ArgumentError(
                "max_norm_: expected a weight of at least two axes, the first one counting units, "
                f"got shape {tuple(target.shape)}; biases are not constrained"
            )
        _clip(target, tuple(range(1, target.ndim)), limit)
        return target
    found = False
    for path, module in target.named_modules():
        if not isinstance(module, (nn.Linear, nn.Bilinear, _ConvNd)):
            continue
        found = True
        weight = _trained_weight(module, path)
        if isinstance(module, _ConvTransposeNd):
            # (in, out / groups, ...): a unit is fed by all inputs of its own group.
            grouped = weight.unflatten(0, (module.groups, -1))
            _clip(grouped, (1, *range(3, grouped.ndim)), limit)
        else:
            _clip(weight, tuple(range(1, weight.ndim)), limit)
    if not found:
        raise ArgumentError(
            f"max_norm_: expected a module with linear layers or convolutions, got "
            f"{type(target).__name__} without any; pass the weight itself"
        )
    return target


def _clip(weight: Tensor, incoming: tuple[int, ...], limit: float) -> None:
    accumulate = torch.promote_types(weight.dtype, torch.float32)
    norm = torch.linalg.vector_norm(weight, dim=incoming, keepdim=True, dtype=accumulate)
    weight.mul_((limit / norm).clamp(max=1.0).to(weight.dtype))


def _trained_weight(module: Any, path: str) -> Tensor:
    """Return the leaf behind `module.weight`, looking through weight dropout."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight
    chain = module.parametrizations.weight
    if not all(isinstance(step, DropConnect) for step in chain):
        names = ", ".join(type(step).__name__ for step in chain)
        raise ArgumentError(
            f"{path or 'max_norm_'}: expected a plain weight, got one computed by {names}, which "
            "sets the norm itself; leave it out and pass the other layers one by one"
        )
    return chain.original
