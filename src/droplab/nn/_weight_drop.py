"""Dropout of recurrent weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from droplab.errors import ArgumentError
from droplab.nn._drop_connect import (
    DropConnect,
    drop_connect,
    find_drop_connect,
    remove_drop_connect,
)
from droplab.rng import stream_key

Module = TypeVar("Module", bound=nn.Module)


class WeightDrop(DropConnect):
    """Drops single weights of a recurrent layer, the same ones at all time steps of a call.

    The same operation as `DropConnect`, on the hidden-to-hidden weights. Use it by
    `weight_drop(lstm, p)`; it needs no other loop than torch's own, so cuDNN stays in use.

    Args:
        p: Probability of dropping a weight; can be assigned to later.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`.

    Randomness:
        One key a call of the recurrent layer, however often that reads its weight; by itself, one
        key a call.

    Source:
        Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018.

    Example:
        >>> import torch
        >>> WeightDrop(0.5, seed=1)(torch.ones(8, 8)).unique().tolist()
        [0.0, 2.0]
    """

    _current: Tensor | None = None

    def renew(self) -> None:
        """Begin a call of the recurrent layer: draw the mask that all its reads will have."""
        self._current = self.next_key()

    def key(self) -> Tensor:
        return self.next_key() if self._current is None else self._current


def weight_drop(
    module: Module,
    p: float = 0.5,
    names: Iterable[str] | None = None,
    *,
    seed: int | None = None,
) -> Module:
    """Drop weights of `module` in training, by default all hidden-to-hidden ones, and return it.

    Args:
        module: An `nn.LSTM`, `nn.GRU`, `nn.RNN` or cell; any module if `names` are given.
        p: Probability of dropping an element.
        names: Names of the parameters; None for those that begin with "weight_hh".
        seed: Makes the masks repeatable; every weight gets a stream of its own from it.

    Returns:
        `module`, changed in place; its `state_dict` keys stay as they were.

    Raises:
        ArgumentError: If there is no such parameter, or p is not a drop probability.

    Example:
        >>> lstm = weight_drop(nn.LSTM(4, 8), 0.5)
        >>> sorted(lstm.state_dict())
        ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
        >>> type(remove_weight_drop(lstm)).__name__
        'LSTM'
    """
    found = [name for name in module._parameters if name.startswith("weight_hh")]
    chosen = found if names is None else list(names)
    if not chosen:
        raise ArgumentError(
            f"weight_drop: expected a recurrent layer, got {type(module).__name__} without "
            "weight_hh parameters; pass the names of the weights"
        )
    for name in chosen:
        stream = None if seed is None else stream_key(seed, f"weight/{name}")
        drop_connect(module, name, p, seed=stream, kind=WeightDrop)
    if _renew not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_renew)
        module.register_forward_hook(_forget)
    return module


def remove_weight_drop(module: Module) -> Module:
    """Take weight dropout away from all weights of `module`, and return it as it was.

    Raises:
        ArgumentError: If no weight of the module has dropout.
    """
    chains = getattr(module, "parametrizations", {})
    # The last one first: each knows the order of the parameters before it came.
    names = [name for name in chains if find_drop_connect(module, name) is not None]
    if not names:
        raise ArgumentError(
            f"remove_weight_drop: expected weights with dropout, got {type(module).__name__} "
            "without"
        )
    for name in reversed(names):
        remove_drop_connect(module, name)
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for number in [n for n, hook in hooks.items() if hook in (_renew, _forget)]:
            del hooks[number]
    return module


def _renew(module: nn.Module, *_: Any) -> None:
    for name in getattr(module, "parametrizations", {}):
        step = find_drop_connect(module, name)
        if isinstance(step, WeightDrop) and step.training:
            step.renew()


def _forget(module: nn.Module, *_: Any) -> None:
    """Let go of the weights of the last call, which hold its graph and cannot be copied."""
    if isinstance(module, nn.RNNBase):
        # Not the objects that the module remembers, so that it reads its weights again.
        module._flat_weights = [
            weight if weight is None or weight.is_leaf else weight.detach()
            for weight in module._flat_weights
        ]
