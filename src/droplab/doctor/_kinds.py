"""Which live modules are dropout, and under which names the checks know modules.

Classes are told by their names, so that no torch is imported: checks that only read ask nothing
here, and stand in the same files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_DROPS = re.compile(r"drop_?(?:out|path|block|connect|layer)|stochastic_?depth", re.IGNORECASE)
_LOCKED = re.compile(r"locked|variational|recurrent|shared|concrete|weight", re.IGNORECASE)


def is_dropout(module: nn.Module) -> bool:
    """Return whether a module is a dropout layer: one of torch's or droplab's, or one so named.

    A layer of another library counts if its class is named for it and it holds neither parameters
    nor other modules.
    """
    kinds = type(module).__mro__[:-2]
    if any(kind.__module__ == "torch.nn.modules.dropout" for kind in kinds):
        return True
    named = any(_DROPS.search(kind.__name__) for kind in kinds)
    if not named or any(True for _ in module.children()):
        return False
    return not any(True for _ in module.parameters(recurse=False))


def is_locked(module: nn.Module) -> bool:
    """Return whether a layer repeats its mask on purpose, by its name."""
    return bool(_LOCKED.search(type(module).__name__))


def rate_of(module: nn.Module) -> float | None:
    """Return the rate of a dropout layer, whatever it is called; None if it has none."""
    for name in ("p", "drop_prob", "drop_rate", "rate", "prob"):
        value = getattr(module, name, None)
        if value is not None:
            try:
                return float(value)
            except (TypeError, ValueError, RuntimeError):
                return None
    return None


def kind_of(module: nn.Module) -> str:
    """Return the torch name of a module's class or nearest torch ancestor, or "drop" or "?"."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.modules.") and kind.__name__ != "Module":
            return "torch.nn." + kind.__name__
    return "drop" if is_dropout(module) else "?"
