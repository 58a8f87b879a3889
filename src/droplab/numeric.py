"""Numbers as users write them: of Python, of numpy, or tensors of one element."""

from __future__ import annotations

import numbers
import operator
from typing import Any


def real(value: Any) -> float | None:
    """Return a real number as Python's own int or float; None if `value` is none.

    True and False are none, whoever's they are.

    Example:
        >>> import numpy as np
        >>> real(np.float32(0.5)), real(np.array(2)), real(3)
        (0.5, 2, 3)
        >>> real(True), real("0.5"), real([0.5])
        (None, None, None)
    """
    if isinstance(value, bool):
        return None
    if type(value) in (int, float):
        return value
    if isinstance(value, numbers.Integral):
        return operator.index(value)
    if isinstance(value, numbers.Real):
        return float(value)
    # arrays and tensors, of which torch's is no number in the eyes of `numbers`
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        item = value.item()
        return real(item) if isinstance(item, (int, float)) else None
    return None


def whole(value: Any) -> int | None:
    """Return a whole number as Python's own int; None if `value` is none, or a float.

    Example:
        >>> import numpy as np
        >>> whole(np.int64(5)), whole(5.0), whole(False)
        (5, None, None)
    """
    number = real(value)
    return number if isinstance(number, int) else None


def share(wanted: float, of: int) -> int:
    """Return how many are meant by a count, or by a fraction of `of` below 1: at least one.

    Example:
        >>> share(0.2, 300), share(0.001, 300), share(50, 300), share(0, 300)
        (60, 1, 50, 0)
    """
    return max(1, round(wanted * of)) if 0 < wanted < 1 else int(wanted)
