"""Turning a batch axis that `vmap` adds into rows."""

from __future__ import annotations

from torch import Tensor


def front(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Return x with its batch axis first; one that has none gets a stride of zero."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def per_row(t: Tensor, dim: int | None, size: int, inner: int, own: int) -> Tensor:
    """Return keys (own = 1) or rates (own = 0) for size * max(inner, 1) rows, or one for all.

    Args:
        t: Keys or rates.
        dim: The batch axis, or None.
        size: Its length.
        inner: Rows that there were before, 0 for none.
        own: Axes of one key or one rate.
    """
    if dim is None and t.dim() == own:
        return t
    t = front(t, dim, size)
    if not inner:
        return t
    if t.dim() == own + 1:
        t = t.unsqueeze(1)
    return t.expand(size, inner, *t.shape[2:]).flatten(0, 1)


def batch_dropout(
    size: int,
    in_dims: tuple[int | None, ...],
    x: Tensor,
    key: Tensor,
    rate: Tensor | None,
    batched: bool,
) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Return x, key and rate of one call that does the work of `size`, and the inner rows."""
    x = front(x, in_dims[0], size)
    inner = x.shape[1] if batched else 0
    key = per_row(key, in_dims[1], size, inner, 1)
    rate = None if rate is None else per_row(rate, in_dims[2], size, inner, 0)
    return (x.flatten(0, 1) if batched else x), key, rate, inner
