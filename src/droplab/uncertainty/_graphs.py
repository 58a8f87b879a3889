"""What is traced when a model is exported: one pass, or many with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError
from droplab.uncertainty._passes import Passes
from droplab.uncertainty.outputs import outputs

_BATCHED = (
    *(nn.Sequential, nn.Linear, nn.Flatten, nn.Identity, nn.LayerNorm, nn.BatchNorm1d),
    *(nn.Dropout, nn.ReLU, nn.GELU, nn.ELU, nn.SELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU),
)
"""Modules whose passes go together with the number of inputs left open. With others vmap may fail
on it (a convolution's rule does), and such a failure leaves torch's state of transforms broken."""


class Once(nn.Module):
    """The model in eval mode, with its inputs by place.

    Args:
        core: The model.
        names: What the inputs are called.
    """

    def __init__(self, core: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.core, self.names = core, tuple(names)
        self.free = True

    def forward(self, *values: Tensor) -> Any:
        return outputs(self.core(**dict(zip(self.names, values, strict=True))))


class SeededPasses(nn.Module):
    """Many passes of a model that is awake: together, or one after the other where vmap fails.

    Args:
        core: The model.
        names: What the inputs are called.
        passes: What makes a pass from its keys.
        count: How many passes.
        values: Inputs to try on.
    """

    def __init__(
        self, core: nn.Module, names: Sequence[str], passes: Passes, count: int, values: Any
    ) -> None:
        super().__init__()
        self.core, self.names, self.passes = core, tuple(names), passes
        self.register_buffer("keys", passes.keys(0, 0, min(count, 2)), persistent=False)
        self.together = True
        try:
            with torch.no_grad():
                self(*values)
        except (RuntimeError, NotImplementedError, ArgumentError):  # as for x += y, which is common
            self.together = False
        self.register_buffer("keys", passes.keys(0, 0, count), persistent=False)

    @property
    def free(self) -> bool:
        """Whether the number of inputs can be left open."""
        return self.together and all(
            type(each) in _BATCHED or type(each).__module__ == "droplab.nn._dropout"
            for each in self.core.modules()
        )

    def forward(self, *values: Tensor) -> Any:
        block = dict(zip(self.names, values, strict=True))
        keys = self.get_buffer("keys")
        if self.together:
            return self.passes.by_vmap(keys, block)
        return self.passes.alone(keys, block)
