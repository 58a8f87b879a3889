"""Dropout with one mask over time."""

from __future__ import annotations

from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import arguments as check
from droplab.ops._dropout import dropout


def locked_dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    batch_first: bool = False,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with units dropped at random, the same ones at every time step of a sequence.

    y_tbc = 0 if u_bc < p, else x_tbc / (1 - p).

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        batch_first: Whether the axes are (B, T, C), as in `torch.nn.LSTM`.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (T, B, C), or (B, T, C) with `batch_first`.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If x has not three axes, or as `dropout` does.

    Randomness:
        As `dropout`.

    Source:
        Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", NIPS 2016; the name is from Merity, Keskar and Socher, "Regularizing and
        Optimizing LSTM Language Models", ICLR 2018.

    Example:
        >>> import torch
        >>> y = locked_dropout(torch.ones(5, 2, 3), seed=1)
        >>> bool((y == y[:1]).all())
        True
    """
    where = "locked_dropout"
    check.check_input(x, where)
    if x.dim() != 3:
        layout = "(B, T, C)" if batch_first else "(T, B, C)"
        raise ArgumentError(
            f"{where}: expected {layout}, got shape {tuple(x.shape)}; use unsqueeze for a single "
            "sequence"
        )
    time = 1 if batch_first else 0
    shape = tuple(1 if axis == time else size for axis, size in enumerate(x.shape))
    return dropout(x, p, training, seed=seed, key=key, noise_shape=shape)
