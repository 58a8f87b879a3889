"""Dropout of single units."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer


class TorchTwin(StochasticLayer):
    """Base of the layers that stand in for torch's, whose arguments and `repr` they have."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, seed: int | None = None) -> None:
        super().__init__(p, seed)
        self.inplace = inplace

    def _describe(self) -> list[str]:
        first, *rest = super()._describe()
        return [first, f"inplace={self.inplace}", *rest]


class Dropout(TorchTwin, torch.nn.Dropout):  # pyright: ignore[reportIncompatibleVariableOverride] # p is a property here
    """Drops elements at random in training; a drop-in for `torch.nn.Dropout`.

    y_i = 0 with probability p, else x_i / (1 - p).

    Args:
        p: Probability of dropping; can be assigned to later.
        inplace: Accepted for compatibility; the result is always a new tensor.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: If p is not a drop probability or the seed not in [0, 2**63); when called,
            if the input is not a dense tensor of real floats.

    Randomness:
        One key a call: from the seed, or from torch's default CPU generator.

    Source:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 15 (2014), in the inverted form: scaled when training.

    Example:
        >>> layer = Dropout(0.5, seed=1)
        >>> layer
        Dropout(p=0.5, inplace=False, seed=1)
        >>> sorted(layer(torch.ones(64)).unique().tolist())
        [0.0, 2.0]
        >>> layer.calls
        1
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return ops.dropout(input, self.rate, key=self.next_key())
