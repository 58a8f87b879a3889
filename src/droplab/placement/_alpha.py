"""Alpha dropout at a rate that is a tensor and may be 0."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab import ops


def alpha_dropout(
    x: Tensor, p: Tensor, key: Tensor | None, *, channels: bool, batched: bool
) -> Tensor:
    """Return `x` after alpha dropout; at p = 0 the identity bit for bit.

    Args:
        x: Output of a SELU.
        p: Drop probability, a 0-d tensor.
        key: The mask's key, None to draw one.
        channels: Whether whole channels are dropped.
        batched: With channels, whether the first axis counts samples.
    """
    if channels:
        out = ops.feature_alpha_dropout(x, p, True, batched=batched, key=key)
    else:
        out = ops.alpha_dropout(x, p, True, key=key)
    return torch.where(p.to(x.device) == 0, x, out)  # adding +0 would turn -0 into 0
