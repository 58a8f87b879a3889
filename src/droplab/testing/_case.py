"""What a test class says about its layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]


class LayerCase(ABC):
    """The description that all checks work from.

    Attributes:
        rate: The drop probability that most checks use.
        support: Whether the output is 0 or x / (1 - p) of the first input, nothing between.
        at_zero: Whether p = 0 gives the baseline or is refused.
        at_one: What p = 1 gives.
        eval_is_baseline: Whether eval mode gives the baseline bit for bit.
        has_rate: Whether the layer has a `p` that can be assigned to.
        backend: Compiler backend; "aot_eager" traces all, and leaves out the slow C++.
    """

    rate: float = 0.5
    support: bool = True
    at_zero: Literal["baseline", "refused"] = "baseline"
    at_one: Literal["zeros", "finite", "refused"] = "zeros"
    eval_is_baseline: bool = True
    has_rate: bool = True
    backend: str = "aot_eager"

    @abstractmethod
    def build(self, p: float, seed: int | None) -> nn.Module:
        """Return a new layer in training mode; it must not depend on torch's generator."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """Return example inputs, without zeros, the same at every call."""

    def baseline(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Return what the network computes without the layer, up to broadcasting."""
        return inputs[0]

    def run(self, module: Callable[..., Any], *inputs: Tensor) -> Tensor:
        """Call the layer and return its (first) output."""
        output = module(*inputs)
        return output if isinstance(output, Tensor) else output[0]

    def example(self, seed: int | None = 1, p: float | None = None) -> nn.Module:
        """Return a layer with the rate of this case."""
        return self.build(self.rate if p is None else p, seed)


def convert(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return the inputs with every floating-point tensor changed."""
    return tuple(change(x) if x.is_floating_point() else x for x in inputs)


def same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have one dtype, shape and value, NaN equal to NaN."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) and torch.equal(
        a.isnan(), b.isnan()
    )


def refusal(call: Callable[[], Any], kind: type[Exception]) -> str | None:
    """Return the message with which a call is refused, None if it is not."""
    try:
        call()
    except kind as error:
        return str(error)
    return None
