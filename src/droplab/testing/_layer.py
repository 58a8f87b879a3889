"""What there is to know about one layer: an entry of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from droplab.testing import _moments as moments

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Layer:
    """What the rest of the project knows about one layer.

    Attributes:
        module: The class.
        functional: Name of its functional form in `droplab.ops` or `droplab.nn`; None where the
            loop is the layer.
        build: Returns a layer for (p, seed); a layer without a rate takes p as its strength.
        inputs: Returns example inputs.
        moments: Exact mean and variance of the output over the masks, from (layer, rounded p,
            *inputs); of the first time step where the layer says so.
        apply: The functional form on (p, seed, *inputs), which a new layer with this seed equals.
        baseline: What a network without this layer would have in its place.
        groups: Numbers of the output elements, from (output, *inputs), up to broadcasting: those of
            two numbers are independent. None if every element decides for itself.
        shares: Whether elements of one number are dropped together.
        support: Whether the output is 0 or x / (1 - p), nothing between.
        at_zero: What p = 0 gives.
        at_one: What p = 1 gives.
        eval_is_baseline: Whether eval mode changes nothing.
    """

    module: type[nn.Module]
    functional: str | None
    build: Callable[[float, int | None], nn.Module]
    inputs: Callable[[], Inputs]
    moments: Callable[..., tuple[Tensor, Tensor]] = moments.of_dropout
    apply: Callable[..., Tensor] | None = None
    baseline: Callable[..., Tensor] = lambda module, x, *_: x
    groups: Callable[..., Tensor] | None = None
    shares: bool = False
    support: bool = True
    at_zero: Literal["baseline", "refused"] = "baseline"
    at_one: Literal["zeros", "finite", "refused"] = "zeros"
    eval_is_baseline: bool = True

    @property
    def name(self) -> str:
        """Name of the class, under which the layer is registered."""
        return self.module.__name__

    @property
    def card(self) -> str:
        """Anchor of the layer's card in docs/layers.md."""
        return self.name.lower()
