"""Functional dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import arguments as check
from droplab.ops._autograd import TransformedDropout, eager_dropout, traced_dropout
from droplab.ops._keys import draw_key, make_key
from droplab.ops._library import dropout_op
from droplab.ops.dispatch import run_dropout
from droplab.ops.transforms import PLAIN_TYPES, is_compiling, is_plain, transforms_active


def dropout(
    x: Tensor,
    p: float | Tensor = 0.5,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
    noise_shape: Sequence[int] | None = None,
    backend: str | None = None,
) -> Tensor:
    """Return `x` with elements dropped at random and the others scaled up.

    y_i = 0 if u_i < p, else x_i / (1 - p), with u_i uniform and fixed by the key and i.

    Args:
        x: float64, float32, bfloat16 or float16.
        p: Probability of dropping, rounded to a multiple of 1/65536. A float; or a float tensor of
            shape (), whose changes do not recompile; or of shape (K,), one rate per row of x.
        training: If false, x comes back as it is.
        seed: Use the masks of this seed, in [0, 2**63), whatever the state of torch's generator.
        key: Use the mask of this key, from `make_key`: shape (2,), or (K, 2), one per row of x.
        noise_shape: Shape of the mask, which is broadcast to that of x: 1 for an axis along which
            the mask is shared. With rows, the shape for one row.
        backend: "reference", "cpu" or "cuda" to insist on one; None to have the best one chosen.

    Shape:
        Any; the output has that of x. With rows, x is (K, ...), and elements are counted in each
        row by itself: row k gets the mask that x[k] alone would get.

    Returns:
        A new tensor, or x itself if not training or p is the float 0. A dropped element is +0 even
        where x is infinite or NaN.

    Raises:
        ArgumentError: If p is outside [0, 1], NaN, or would round to 0 or 1; x is not of an
            accepted dtype or not dense; the noise shape does not broadcast; the number of rates or
            keys is not that of the rows; the seed is out of range; both seed and key are given; p
            requires a gradient. Or, without a seed or key, under vmap(randomness="error") or while
            a CUDA graph is captured.
        BackendError: If the backend named is missing or does not serve the device of x.

    Randomness:
        Without seed or key, one key from torch's default CPU generator. The backward pass makes the
        mask again from the key; nothing else is kept for it.

    Source:
        Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting"
        (2014), in the inverted form: scaled when training.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 4)
        >>> y = dropout(x, 0.5, seed=1)
        >>> bool((y == dropout(x, 0.5, seed=1)).all()), sorted(set(y.flatten().tolist()))
        (True, [0.0, 2.0])
    """
    if not isinstance(p, (float, int, Tensor)):
        p = check.check_p(p, where="dropout: p")
    rate, value = (p, 0.0) if isinstance(p, Tensor) else (None, p)
    if not training or (rate is None and value == 0.0):
        return _identity(x, rate, value)
    if rate is not None and rate.requires_grad and torch.is_grad_enabled():
        raise ArgumentError(
            "dropout: p: expected a rate without gradient, got a tensor that requires one; pass "
            "p.detach(), or learn the rate with ConcreteDropout"
        )
    plain = is_plain() and type(x) in PLAIN_TYPES
    if key is None:
        key = draw_key() if plain and seed is None else make_key(seed)
        batched = False
    else:
        if seed is not None:
            raise ArgumentError("dropout: expected a seed or a key, got both; leave one out")
        check.check_key(key, "dropout")
        batched = key.dim() == 2
    batched = batched or (rate is not None and rate.dim() > 0)
    shape = None if noise_shape is None else tuple(noise_shape)
    if plain:
        if torch.is_grad_enabled() and x.requires_grad:
            return eager_dropout(x, key, rate, value, shape, backend, batched)
        return run_dropout(x, key, rate, value, shape, backend, batched)
    if is_compiling():
        if transforms_active():
            return traced_dropout(x, key, rate, value, shape, backend, batched)
        return dropout_op(x, key, rate, value, shape, backend, batched)
    check.check_input(x, "dropout")
    if transforms_active():
        return TransformedDropout.apply(x, key, rate, value, shape, backend, batched)
    return dropout_op(x, key, rate, value, shape, backend, batched)


def _identity(x: Tensor, rate: Tensor | None, value: float) -> Tensor:
    check.check_input(x, "dropout")
    if rate is None:
        check.check_p(value, where="dropout: p")
    return x
