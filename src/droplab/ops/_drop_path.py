"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops import arguments as check
from droplab.ops._dropout import dropout
from droplab.ops._noise import keep_mask


def drop_path(
    x: Tensor,
    p: float | Tensor = 0.0,
    training: bool = True,
    scale_by_keep: bool = True,
    *,
    mode: check.Mode = "row",
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `x` with whole samples dropped at random, for the residual branch of a block.

    y_n = 0 if u_n < p, else x_n / (1 - p); with mode "batch" one u decides for all samples.

    Args:
        x: float64, float32, bfloat16 or float16; samples on the first axis.
        p: Probability of dropping: a float, or a float tensor of shape ().
        training: If false, x comes back as it is.
        scale_by_keep: Divide what is kept by 1 - p, so that the expectation is x.
        mode: "row" decides for every sample by itself, "batch" once for the whole batch.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        (N, ...); the output has that of x.

    Returns:
        A tensor like `x`.

    Raises:
        ArgumentError: If x has no axis, the mode is unknown, or as `dropout` does.

    Randomness:
        As `dropout`.

    Source:
        Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016.
        The paper drops a block for the whole batch and scales when testing; here, as in timm, the
        default is a decision per sample, and the scale is applied when training.

    Example:
        >>> import torch
        >>> y = drop_path(torch.ones(4, 2), 0.5, seed=3)
        >>> bool((y[:, 0] == y[:, 1]).all())
        True
    """
    where = "drop_path"
    check.check_mode(mode, where)
    if x.dim() == 0:
        raise ArgumentError(
            f"{where}: expected samples on the first axis, got shape (); use dropout for a scalar"
        )
    first = x.shape[0] if mode == "row" else 1
    shape = (first, *[1] * (x.dim() - 1))
    if scale_by_keep:
        return dropout(x, p, training, seed=seed, key=key, noise_shape=shape)
    if prologue.is_off(p, training, x, where):
        return x
    key = prologue.resolve_key(seed, key, where)
    keep = keep_mask(tuple(x.shape), p, key=key, noise_shape=shape, device=x.device)
    return prologue.masked(keep, x, x)
