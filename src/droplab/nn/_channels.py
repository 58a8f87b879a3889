"""Dropout of whole channels."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab import ops
from droplab.nn._dropout import TorchTwin


class ChannelTwin(TorchTwin):
    """Base of the layers that drop channels and must know whether there is a batch."""

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        *,
        batched: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(p, inplace, seed=seed)
        self.batched = batched

    def _describe(self) -> list[str]:
        return super()._describe() + ([] if self.batched else ["batched=False"])


class Dropout1d(ChannelTwin, torch.nn.Dropout1d):  # pyright: ignore[reportIncompatibleVariableOverride] # p is a property here
    """Drops whole channels of (N, C, L) at random; a drop-in for `torch.nn.Dropout1d`.

    Args:
        p: Probability of dropping a channel; can be assigned to later.
        inplace: Accepted for compatibility; the result is always a new tensor.
        batched: Whether the first axis counts samples. Torch guesses this from the number of axes;
            here (C, L) must be asked for by `batched=False`.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (N, C, L), or (C, L) if not batched.

    Raises:
        ArgumentError: As `Dropout`, and if the input has another number of axes.

    Randomness:
        As `Dropout`.

    Source:
        Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015,
        section 3.2.

    Example:
        >>> y = Dropout1d(0.5, seed=1)(torch.ones(2, 3, 4))
        >>> bool((y == y[:, :, :1]).all())
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.dropout1d(input, self.rate, batched=self.batched, key=key)


class Dropout2d(ChannelTwin, torch.nn.Dropout2d):  # pyright: ignore[reportIncompatibleVariableOverride] # p is a property here
    """Drops whole feature maps of (N, C, H, W) at random; a drop-in for `torch.nn.Dropout2d`.

    As `Dropout1d`, for (N, C, H, W), or (C, H, W) if not batched.

    Example:
        >>> Dropout2d()(torch.ones(3, 4, 4))
        Traceback (most recent call last):
        droplab.errors.ArgumentError: Dropout2d: expected (N, C, H, W), got shape (3, 4, 4); ...
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.dropout2d(input, self.rate, batched=self.batched, key=key)


class Dropout3d(ChannelTwin, torch.nn.Dropout3d):  # pyright: ignore[reportIncompatibleVariableOverride] # p is a property here
    """Drops whole volumes of (N, C, D, H, W) at random; a drop-in for `torch.nn.Dropout3d`.

    As `Dropout1d`, for (N, C, D, H, W), or (C, D, H, W) if not batched.

    Example:
        >>> Dropout3d(1.0)(torch.ones(2, 3, 4, 4, 4)).sum()
        tensor(0.)
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.dropout3d(input, self.rate, batched=self.batched, key=key)
