"""Which live modules and calls are dropout, and under which name the checks know an operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import resolve_name

from droplab.doctor import _names

_DROPS = re.compile(r"drop_?(?:out|path|block|connect|layer)|stochastic_?depth", re.IGNORECASE)
_LOCKED = re.compile(r"locked|variational|recurrent|shared|concrete|weight", re.IGNORECASE)


def is_dropout(module: nn.Module) -> bool:
    """Return whether a module is a dropout layer: one of torch's or droplab's, or one so named.

    A layer of another library counts if its class is named for it and it holds neither parameters
    nor other modules.
    """
    if isinstance(module, _DropoutNd):
        return True
    named = any(_DROPS.search(kind.__name__) for kind in type(module).__mro__[:-2])
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
        if kind.__module__.startswith("torch.nn.modules.") and kind is not nn.Module:
            return "torch.nn." + kind.__name__
    return "drop" if is_dropout(module) else "?"


_NAMES: dict[Any, str] = {}


def name_of(function: Callable[..., Any]) -> str:
    """Return the full name of a torch function; methods are ".name"."""
    try:
        known = _NAMES.get(function)
    except TypeError:
        return "?"
    if known is None:
        name = resolve_name(function) or "?"
        if name.startswith("torch.Tensor."):
            name = "." + name.removeprefix("torch.Tensor.")
        known = _NAMES[function] = name
    return known


def functional(name: str) -> _names.Functional | None:
    """Return where a dropout function has its arguments, or None for another function."""
    return _names.FUNCTIONS.get(name)


def argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, at: int, default: Any
) -> Any:
    """Return an argument given by name or position."""
    if name in kwargs:
        return kwargs[name]
    return args[at] if len(args) > at else default
