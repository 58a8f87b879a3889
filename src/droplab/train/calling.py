"""How a model is called on its inputs: as its forward takes them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from droplab.data import Inputs
from droplab.errors import ArgumentError, nearest


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Return what a model makes of its inputs.

    A tensor is given as it is, a tuple as `model(*inputs)`, a dict as `model(**inputs)`; where
    forward has one parameter and nothing else, several inputs are given to it as they are.

    Example:
        >>> import torch
        >>> call(nn.Bilinear(2, 3, 4), (torch.zeros(5, 2), torch.zeros(5, 3))).shape
        torch.Size([5, 4])
    """
    if isinstance(inputs, Tensor):
        return model(inputs)
    positional, by_name = arguments(model, inputs)
    return model(*positional, **by_name)


def arguments(model: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional arguments and those by name with which `call` calls a model."""
    if isinstance(inputs, Tensor) or _parameters(model).takes_whole(inputs):
        return (inputs,), {}
    return ((), inputs) if isinstance(inputs, dict) else (inputs, {})


def example_of(model: nn.Module, inputs: Inputs) -> Any:
    """Return the inputs as an example for `droplab.placement`: arguments of a call."""
    positional, by_name = arguments(model, inputs)
    return by_name or positional


def check_call(model: nn.Module, inputs: Inputs) -> None:
    """Check that forward takes several inputs by their names and number.

    Raises:
        ArgumentError: If it has no parameter of a name, takes fewer of them, or needs more.
    """
    known = _parameters(model)
    if isinstance(inputs, Tensor) or known.takes_whole(inputs):
        return
    by_name = isinstance(inputs, dict)
    if by_name and not known.open_names:
        for name in inputs:
            if name not in known.named:
                raise ArgumentError(
                    f"inputs: expected names of parameters of the model's forward, got '{name}'"
                    f"{nearest(name, known.named)}"
                )
    if not by_name and not known.open_ended and len(inputs) > len(known.positional):
        raise ArgumentError(
            f"inputs: expected at most {len(known.positional)} of them, since forward takes "
            f"{_listed(known.positional)}, got {len(inputs)}"
        )
    given = list(inputs) if by_name else known.positional[: len(inputs)]
    missing = [name for name in known.needed if name not in given]
    if missing:
        number = f"{len(inputs)} of them" if not by_name else _listed(given)
        raise ArgumentError(
            f"inputs: expected {_listed(missing)} too, which the model's forward needs, got "
            f"{number}; give it with every example"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


@dataclass(frozen=True)
class _Parameters:
    """What a forward takes.

    Attributes:
        positional: Parameters that take a positional argument.
        named: Parameters that take an argument by name.
        needed: Parameters without a default value.
        open_ended: Whether it takes any further positional arguments.
        open_names: Whether it takes any further arguments by name.
    """

    positional: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    open_ended: bool = True
    open_names: bool = True

    def takes_whole(self, inputs: tuple[Any, ...] | dict[str, Any]) -> bool:
        """Whether several inputs go to the one parameter that there is."""
        one = len(self.positional) == 1 == len({*self.positional, *self.named})
        if not one or self.open_ended or self.open_names:
            return False
        if isinstance(inputs, dict):
            return self.positional[0] not in inputs
        return len(inputs) > 1


_KNOWN: WeakKeyDictionary[nn.Module, _Parameters] = WeakKeyDictionary()


def _parameters(model: nn.Module) -> _Parameters:
    found = _KNOWN.get(model)
    if found is None:
        found = _KNOWN[model] = _read(model)
    return found


def _read(model: nn.Module) -> _Parameters:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # of compiled code: it has to see for itself
        return _Parameters()
    kinds = inspect.Parameter
    by_place = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    by_name = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    return _Parameters(
        tuple(p.name for p in parameters if p.kind in by_place),
        tuple(p.name for p in parameters if p.kind in by_name),
        tuple(p.name for p in parameters if p.kind in by_place + by_name and p.default is p.empty),
        any(p.kind is kinds.VAR_POSITIONAL for p in parameters),
        any(p.kind is kinds.VAR_KEYWORD for p in parameters),
    )
