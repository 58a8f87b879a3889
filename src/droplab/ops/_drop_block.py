"""Dropout of contiguous blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._noise import uniform
from droplab.ops._reference import scaled

_LAYOUTS = {1: ("N, C, L", "L"), 2: ("N, C, H, W", "min(H, W)")}


def drop_block1d(
    x: Tensor,
    p: float | Tensor = 0.1,
    block_size: int = 7,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with runs of `block_size` positions dropped at random, in every channel by itself.

    As `drop_block2d`, with one spatial axis.

    Example:
        >>> drop_block1d(torch.ones(1, 1, 8), 1.0, 3).sum()
        tensor(0.)
    """
    return _drop_block(x, p, block_size, training, 1, seed, key, "drop_block1d")


def drop_block2d(
    x: Tensor,
    p: float | Tensor = 0.1,
    block_size: int = 7,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    r"""Return `x` with squares of `block_size` positions dropped at random, in every channel.

    $$y_i = \frac{x_i}{1 - p} \text{ if no block covers } i, \text{ else } 0; \qquad
      \gamma = 1 - (1 - p)^{1 / b^2}$$

    A block begins at every position, also before the edge, with probability $\gamma$. Each position
    is covered by exactly b x b possible blocks, so each is kept with probability exactly 1 - p.

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability that a position is dropped: a float, or a float tensor of shape ().
        block_size: Side b of a block, odd or even, from 1 (which is `dropout`) to the smallest
            side of the map.
        training: If false, x comes back as it is.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (N, C, H, W); the output has that of x.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If x has another number of axes, the block does not fit into the map, or as
            `dropout` does.

    Randomness:
        As `dropout`; one uniform number per possible block.

    Source:
        Ghiasi, Lin and Le, "DropBlock: A regularization method for convolutional networks",
        NeurIPS 2018. Two deviations. Blocks may be cut off by the edge (the paper keeps them
        inside, drops the middle more often than the edge, and with its gamma drops less than p in
        all). The scale is 1 / (1 - p) where the paper divides by the share that happened to be
        kept in the batch, which makes one sample's output depend on the others.

    Example:
        >>> x = torch.ones(1, 2, 12, 12)
        >>> sorted(drop_block2d(x, 0.25, 3, seed=1).unique().tolist())
        [0.0, 1.3333333730697632]
    """
    return _drop_block(x, p, block_size, training, 2, seed, key, "drop_block2d")


def _drop_block(
    x: Tensor,
    p: float | Tensor,
    block_size: int,
    training: bool,
    spatial: int,
    seed: int | None,
    key: Tensor | None,
    where: str,
) -> Tensor:
    block_size = check.check_block_size(block_size, where)
    layout, smallest = _LAYOUTS[spatial]
    if x.dim() != spatial + 2:
        raise ArgumentError(
            f"{where}: expected ({layout}), got shape {tuple(x.shape)}; use unsqueeze(0) for one "
            "sample"
        )
    sides = tuple(x.shape[2:])
    if block_size > min(sides):
        raise ArgumentError(
            f"{where}: block_size must be at most {smallest} = {min(sides)}, got {block_size}; use "
            f"{max(min(sides), 1)}, or DropPath to drop whole samples"
        )
    if prologue.is_off(p, training, x, where):
        return x
    key = prologue.resolve_key(seed, key, where)
    rate = prologue.rate_tensor(p, x, where)
    start = -torch.expm1(torch.log1p(-rate) / block_size**spatial)
    shape = (*x.shape[:2], *(side + block_size - 1 for side in sides))
    blocks = (uniform(shape, key=key, device=x.device) < start).float()
    pool = F.max_pool1d if spatial == 1 else F.max_pool2d
    covered = pool(blocks, block_size, stride=1)
    return prologue.masked(covered == 0, scaled(x, prologue.keep_scale(rate)), x)
