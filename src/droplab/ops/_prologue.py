"""What every member of the family does with its arguments before it does anything else."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import arguments as check
from droplab.ops._keys import make_key
from droplab.ops.transforms import is_plain
from droplab.probability import LEVELS, check_p


def resolve_key(seed: int | None, key: Tensor | None, where: str) -> Tensor:
    """Return the key to use: the one given, or one of this seed, or a drawn one."""
    if key is None:
        return make_key(seed)
    if seed is not None:
        raise ArgumentError(f"{where}: expected a seed or a key, got both; leave one out")
    check.check_key(key, where)
    return key


def rate_tensor(p: float | Tensor, x: Tensor, where: str) -> Tensor:
    """Return the rate as a number that formulas can use: rounded as masks round it, of shape ().

    It has the dtype that arithmetic on `x` is done in, float32 at least.
    """
    dtype = wide(x.dtype)
    if not isinstance(p, Tensor):
        return torch.tensor(round(check_p(p, where=f"{where}: p") * LEVELS) / LEVELS, dtype=dtype)
    check.check_rate(p, where)
    if p.dim():
        raise ArgumentError(
            f"{where}: p: expected one rate, got shape {tuple(p.shape)}; use torch.func.vmap for "
            "one rate per member"
        )
    if is_plain() and p.device.type == "cpu":
        if not p.requires_grad:  # the same number with two operations in place of seven
            return rate_tensor(p.item(), x, where)
        check.check_rate_values(p, where)
    return torch.round(p * LEVELS).to(dtype) / LEVELS


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that arithmetic on narrow floats is done in, to be rounded once."""
    return torch.promote_types(dtype, torch.float32)


def is_off(p: float | Tensor, training: bool, x: Tensor, where: str) -> bool:
    """Check `x` and a rate given as a float; return whether there is nothing to do."""
    check.check_input(x, where)
    if isinstance(p, Tensor):
        return not training
    return check_p(p, where=f"{where}: p") == 0.0 or not training


def keep_scale(p: Tensor) -> Tensor:
    """Return 1 / (1 - p), and 0 for p = 1, where nothing is kept."""
    return torch.where(p < 1.0, 1.0 / (1.0 - p), 0.0)


def masked(keep: Tensor, kept: Tensor, x: Tensor) -> Tensor:
    """Return `kept` where kept and +0 elsewhere, in the dtype of `x`."""
    return torch.where(keep, kept.to(x.dtype), torch.zeros((), dtype=x.dtype, device=x.device))
