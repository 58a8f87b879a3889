"""Deep copies of models, in half the time."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, TypeVar

from torch import nn

_Subject = TypeVar("_Subject")


def deep_copy(subject: _Subject, memo: dict[int, Any] | None = None) -> _Subject:
    """Return what `copy.deepcopy(subject, memo)` returns.

    Each module has a dozen tables of hooks, nearly all of them empty. `copy.deepcopy` takes apart
    and rebuilds each one, which is half of its time for a small network: here they are made new.

    Args:
        subject: A model, or a tuple or an object that holds some.
        memo: As `copy.deepcopy` has it.

    Example:
        >>> twin = deep_copy(nn.Linear(2, 2))
        >>> twin._forward_hooks
        OrderedDict()
    """
    memo = {} if memo is None else memo
    if isinstance(subject, (nn.Module, tuple)):
        parts = subject if isinstance(subject, tuple) else [subject]
    else:
        parts = getattr(subject, "__dict__", {}).values()
    for part in parts:
        for module in part.modules() if isinstance(part, nn.Module) else ():
            for table in vars(module).values():
                if type(table) is OrderedDict and not table:
                    memo[id(table)] = OrderedDict()
    return copy.deepcopy(subject, memo)
