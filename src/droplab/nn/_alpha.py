"""Dropout for self-normalising networks."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab import ops
from droplab.nn._channels import ChannelTwin
from droplab.nn._dropout import TorchTwin


class AlphaDropout(TorchTwin, torch.nn.AlphaDropout):  # pyright: ignore[reportIncompatibleVariableOverride] # p is a property here
    r"""Drops to SELU's saturation value, keeping mean 0 and variance 1.

    A drop-in for `torch.nn.AlphaDropout`; for networks with `torch.nn.SELU` activations.

    $$y = a\,(x\,d + \alpha'(1 - d)) + b, \qquad d \sim \mathrm{Bernoulli}(1 - p)$$

    Args:
        p: Probability of dropping; can be assigned to later.
        inplace: Accepted for compatibility; the result is always a new tensor.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`.

    Randomness:
        As `Dropout`.

    Source:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-Normalizing Neural Networks", NIPS 2017.

    Example:
        >>> AlphaDropout(0.5, seed=1)(torch.zeros(64)).unique().numel()
        2
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return ops.alpha_dropout(input, self.rate, key=self.next_key())


class FeatureAlphaDropout(ChannelTwin, torch.nn.FeatureAlphaDropout):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Drops whole channels to SELU's saturation value; else as `AlphaDropout`.

    A drop-in for `torch.nn.FeatureAlphaDropout`.

    Args:
        p: Probability of dropping a channel; can be assigned to later.
        inplace: Accepted for compatibility; the result is always a new tensor.
        batched: Whether the first axis counts samples. Torch always takes it so, even where its
            documentation says otherwise.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (N, C, ...), or (C, ...) if not batched.

    Raises:
        ArgumentError: As `Dropout`, and if the input has too few axes.

    Randomness:
        As `Dropout`.

    Example:
        >>> y = FeatureAlphaDropout(0.5, seed=1)(torch.zeros(2, 3, 4))
        >>> bool((y == y[:, :, :1]).all())
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.feature_alpha_dropout(input, self.rate, batched=self.batched, key=key)
