"""Dropout of contiguous blocks."""

from __future__ import annotations

from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer
from droplab.ops.arguments import check_block_size


class _DropBlock(StochasticLayer):
    def __init__(
        self,
        p: float = 0.1,
        block_size: int = 7,
        inplace: bool = False,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(p, seed)
        self.block_size = check_block_size(block_size, self.label)
        self.inplace = inplace

    def _describe(self) -> list[str]:
        first, *rest = super()._describe()
        return [first, f"block_size={self.block_size}", f"inplace={self.inplace}", *rest]


class DropBlock1d(_DropBlock):
    """Drops runs of positions at random, in every channel by itself; as `DropBlock2d` in 1-D.

    Shape:
        (N, C, L); the output has that of the input.

    Example:
        >>> import torch
        >>> DropBlock1d(1.0, 3)(torch.ones(1, 1, 8)).sum()
        tensor(0.)
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.drop_block1d(input, self.rate, self.block_size, key=key)


class DropBlock2d(_DropBlock):
    r"""Drops squares of positions at random, in every channel by itself.

    $$y_i = \frac{x_i}{1 - p} \text{ if no block covers } i, \text{ else } 0$$

    Every position is kept with probability exactly 1 - p. Takes the arguments of torchvision's
    `DropBlock2d`.

    Args:
        p: Probability that a position is dropped; can be assigned to later.
        block_size: Side of a block, odd or even, at most the smallest side of the map.
        inplace: Accepted for compatibility; the result is always a new tensor.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (N, C, H, W); the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`; if the block does not fit into the map or the input has
            another number of axes.

    Randomness:
        One key a call, as `Dropout`.

    Source:
        Ghiasi, Lin and Le, "DropBlock: A regularization method for convolutional networks",
        NeurIPS 2018; `droplab.ops.drop_block2d` says where this deviates.

    Example:
        >>> import torch
        >>> DropBlock2d(0.1, 8)(torch.ones(1, 1, 7, 7))
        Traceback (most recent call last):
        droplab.errors.ArgumentError: DropBlock2d: block_size must be at most min(H, W) = 7, ...
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        key = self.next_key()
        return ops.drop_block2d(input, self.rate, self.block_size, key=key)
