"""Dropout with one mask over time."""

from __future__ import annotations

from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer


class LockedDropout(StochasticLayer):
    """Drops units at random, the same ones at every time step of a sequence.

    y_tbc = 0 with probability p, decided once for each (b, c), else x_tbc / (1 - p).

    Args:
        p: Probability of dropping; can be assigned to later.
        batch_first: Whether the axes are (B, T, C), as in `torch.nn.LSTM`.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (T, B, C), or (B, T, C) with `batch_first`. Drop before packing a sequence.

    Raises:
        ArgumentError: As `Dropout`, and if the input has not three axes.

    Randomness:
        One key a call, as `Dropout`.

    Source:
        Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", NIPS 2016; the name is from Merity, Keskar and Socher (2018).

    Example:
        >>> import torch
        >>> y = LockedDropout(0.5, seed=1)(torch.ones(5, 2, 3))
        >>> bool((y == y[:1]).all())
        True
    """

    def __init__(
        self, p: float = 0.5, *, batch_first: bool = False, seed: int | None = None
    ) -> None:
        super().__init__(p, seed)
        self.batch_first = batch_first

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.locked_dropout(input, self.rate, batch_first=self.batch_first, key=key)

    def _describe(self) -> list[str]:
        first, *rest = super()._describe()
        return [first, *(["batch_first=True"] if self.batch_first else []), *rest]
