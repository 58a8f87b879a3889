"""The same masks on every call, for line searches and gradient checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from droplab.ops.layout import CALL_LIMIT
from droplab.rng import check_seed

# Of the process, not of the thread or context: autograd runs the recomputation of a checkpoint on
# its own threads for some devices, and those must see the same state as the forward pass did.
_stack: list[int] = []


@contextmanager
def frozen_masks(seed: int | None = None) -> Iterator[None]:
    """Use the same masks on every call inside.

    Every key made inside without a seed is the same key, so calls on the same shape drop the same
    elements; keys made with a `site` differ from site to site, and the layers of `droplab.nn` give
    themselves one each. Keys made with a seed keep their stream and their call index is ignored. A
    key that was made before, or by hand, is used as it is.

    Args:
        seed: Which masks; None draws them from torch's default generator on entry.

    Raises:
        ArgumentError: If `seed` is not an integer in [0, 2**63).

    Randomness:
        One draw from torch's default CPU generator on entry, none with a seed, none inside. The
        state belongs to the process, so other threads see it as well.

    Example:
        >>> import torch
        >>> from droplab.ops import dropout
        >>> x = torch.ones(8)
        >>> with frozen_masks():
        ...     bool((dropout(x) == dropout(x)).all())
        True
    """
    if seed is None:
        base = int(torch.empty((), dtype=torch.int64, device="cpu").random_(0, CALL_LIMIT))
    else:
        base = check_seed(seed, where="frozen_masks: seed")
    _stack.append(base)
    try:
        yield
    finally:
        _stack.pop()


def frozen_base() -> int | None:
    """Return the seed of the innermost `frozen_masks`, None outside."""
    return _stack[-1] if _stack else None


def masks_are_frozen() -> bool:
    """Return whether the caller is inside `frozen_masks`.

    Example:
        >>> masks_are_frozen()
        False
    """
    return bool(_stack)
