"""Gaussian noise, multiplied and added."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from droplab import ops
from droplab.nn._seeded import SeededLayer
from droplab.nn._stochastic import StochasticLayer
from droplab.ops.arguments import check_below_one, check_std


class GaussianDropout(StochasticLayer):
    r"""Multiplies by Gaussian noise with the first two moments of dropout.

    $$y = x\,(1 + \sigma z), \qquad z \sim \mathcal{N}(0, 1), \qquad \sigma^2 = \frac{p}{1 - p}$$

    Args:
        p: Rate of the dropout to be imitated, in [0, 1); can be assigned to later.
        seed: Makes the noise a function of (seed, index of the call).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`, and for p = 1.

    Randomness:
        One key a call, as `Dropout`.

    Source:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 15 (2014), section 10.

    Example:
        >>> GaussianDropout(0.5, seed=1)(torch.zeros(3)).abs()
        tensor([0., 0., 0.])
    """

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__(p, seed)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return ops.gaussian_dropout(input, self.rate, key=self.next_key())

    def _check_p(self, p: float) -> float:
        value = super()._check_p(p)
        check_below_one(value, self.label)
        return value


class GaussianNoise(SeededLayer):
    r"""Adds Gaussian noise.

    $$y = x + \sigma z, \qquad z \sim \mathcal{N}(0, 1)$$

    Args:
        std: Standard deviation of the noise, at least 0; can be assigned to later.
        seed: Makes the noise a function of (seed, index of the call).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: If `std` is negative, NaN or infinite, or as `Dropout`.

    Randomness:
        One key a call, as `Dropout`.

    Source:
        Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation
        7 (1995).

    Example:
        >>> GaussianNoise(0.1)
        GaussianNoise(std=0.1)
    """

    _held: ClassVar[tuple[str, ...]] = ("stream", "amount")

    amount: Tensor

    def __init__(self, std: float = 0.1, *, seed: int | None = None) -> None:
        super().__init__(seed)
        self._std = check_std(std, self.label)
        amount = torch.tensor(self._std, dtype=torch.float32, device="cpu")
        self.register_buffer("amount", amount, persistent=False)

    @property
    def std(self) -> float:
        """Standard deviation of the noise; assign to it to change the noise."""
        return self._std

    @std.setter
    def std(self, value: float) -> None:
        self._std = check_std(value, self.label)
        self.amount.fill_(self._std)

    @property
    def strength(self) -> Tensor:
        """The standard deviation: at 0 no key is drawn."""
        return self.amount

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return ops.gaussian_noise(input, self.amount, key=self.next_key())

    def _describe(self) -> list[str]:
        return [f"std={self.std}", *super()._describe()]
