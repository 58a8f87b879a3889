"""Dropout of whole channels."""

from __future__ import annotations

from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops._dropout import dropout

_LAYOUTS = {1: "L", 2: "H, W", 3: "D, H, W"}


def dropout1d(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    batched: bool = True,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with whole channels dropped at random, one decision per sample and channel.

    y_nc = 0 if u_nc < p, else x_nc / (1 - p).

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping a channel: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        batched: Whether the first axis counts samples; torch guesses this from the number of axes.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (N, C, L), or (C, L) if not batched.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If x has another number of axes, or as `dropout` does.

    Randomness:
        As `dropout`.

    Source:
        Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015,
        section 3.2 (spatial dropout).

    Example:
        >>> import torch
        >>> y = dropout1d(torch.ones(2, 3, 4), seed=1)
        >>> bool((y == y[:, :, :1]).all())
        True
    """
    shape = check_channels(x, 1, batched, "dropout1d")
    return dropout(x, p, training, seed=seed, key=key, noise_shape=shape)


def dropout2d(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    batched: bool = True,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with whole feature maps dropped at random, one decision per sample and channel.

    As `dropout1d`, for (N, C, H, W), or (C, H, W) if not batched.

    Example:
        >>> import torch
        >>> dropout2d(torch.ones(3, 4, 4))
        Traceback (most recent call last):
        droplab.errors.ArgumentError: dropout2d: expected (N, C, H, W), got shape (3, 4, 4); ...
    """
    shape = check_channels(x, 2, batched, "dropout2d")
    return dropout(x, p, training, seed=seed, key=key, noise_shape=shape)


def dropout3d(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    batched: bool = True,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with whole volumes dropped at random, one decision per sample and channel.

    As `dropout1d`, for (N, C, D, H, W), or (C, D, H, W) if not batched.

    Example:
        >>> import torch
        >>> dropout3d(torch.ones(2, 3, 4, 4, 4), 1.0).sum()
        tensor(0.)
    """
    shape = check_channels(x, 3, batched, "dropout3d")
    return dropout(x, p, training, seed=seed, key=key, noise_shape=shape)


def check_channels(x: Tensor, spatial: int, batched: bool, where: str) -> tuple[int, ...]:
    """Return the shape of a mask over channels, or say which layout was meant."""
    leading = 2 if batched else 1
    if x.dim() == leading + spatial:
        return (*x.shape[:leading], *[1] * spatial)
    layout = ("N, C, " if batched else "C, ") + _LAYOUTS[spatial]
    raise ArgumentError(
        f"{where}: expected ({layout}), got shape {tuple(x.shape)}; "
        + _hint(x.dim(), spatial, batched)
    )


def _hint(axes: int, spatial: int, batched: bool) -> str:
    if batched and axes == spatial + 1:
        sample = f"for one sample (C, {_LAYOUTS[spatial]}) say batched=False"
        if axes == 2:
            return sample + ", for features (N, C) use Dropout"
        return sample + f", for (N, C, {_LAYOUTS[spatial - 1]}) use Dropout{spatial - 1}d"
    if not batched and axes == spatial + 2:
        return "leave batched=False out for a batch"
    if axes == 2:
        return "for features (N, C) use Dropout"
    if axes - 2 in _LAYOUTS:
        return f"for (N, C, {_LAYOUTS[axes - 2]}) use Dropout{axes - 2}d"
    return "use dropout with noise_shape for any other layout"
