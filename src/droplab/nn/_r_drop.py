"""R-Drop: two passes with different masks should agree."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.errors import ArgumentError


def r_drop_loss(
    first: Tensor,
    second: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.0,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Return the R-Drop loss of two passes of the same batch through a model with dropout.

    $$L = \tfrac{1}{2}\bigl(\mathrm{CE}(P_1, y) + \mathrm{CE}(P_2, y)\bigr)
        + \tfrac{\alpha}{2}\bigl(\mathrm{KL}(P_1 \Vert P_2) + \mathrm{KL}(P_2 \Vert P_1)\bigr)$$

    Both terms are means over the batch, and over positions where there are any. At `alpha=0`, or
    for two equal passes, this is the cross-entropy.

    Args:
        first: Logits of the first pass, floating point; classes on axis 1.
        second: Logits of the second pass, which had other masks.
        target: Class indices or class probabilities, as `torch.nn.functional.cross_entropy` takes
            them.
        alpha: Weight of the agreement term, at least 0; the paper uses 1 to 5.
        ignore_index: Positions with this target count in neither term.
        label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Shape:
        first, second: (B, C) or (B, C, ...). target: (B) or (B, ...), or that of the logits for
        probabilities.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the two passes differ in shape, have no class axis, or `alpha` is
            negative or not finite.

    Source:
        Wu et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021, equations 2
        to 4. The paper sums the two cross-entropies; here, as in the authors' code, they are
        averaged, so that the loss stays comparable with the plain one. The paper's alpha is twice
        this one.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> y = torch.tensor([0, 1])
        >>> torch.equal(r_drop_loss(logits, logits, y), F.cross_entropy(logits, y))
        True
    """
    if first.shape != second.shape:
        raise ArgumentError(
            "r_drop_loss: expected two passes of one batch, of equal shape, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}; call the model twice on the same x"
        )
    if first.ndim < 2:
        raise ArgumentError(
            f"r_drop_loss: expected logits (B, C) or (B, C, ...), got {tuple(first.shape)}; "
            "use unsqueeze(0) for a single example"
        )
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ArgumentError(
            f"r_drop_loss: alpha must be a number of at least 0, got {alpha!r}; "
            "the paper uses 1 to 5"
        )
    entropies = [
        F.cross_entropy(logits, target, ignore_index=ignore_index, label_smoothing=label_smoothing)
        for logits in (first, second)
    ]
    p, q = first.log_softmax(1), second.log_softmax(1)
    # KL(P||Q) + KL(Q||P) in one sum: every class contributes (p - q) (log p - log q).
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(1)
    if not target.is_floating_point():
        counted = target != ignore_index
        mean = torch.where(counted, divergence, 0.0).sum() / counted.sum()
    else:
        mean = divergence.mean()
    return 0.5 * (entropies[0] + entropies[1]) + 0.5 * alpha * mean
