"""Dropout of single weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from droplab import ops
from droplab.errors import ArgumentError, nearest
from droplab.nn._stochastic import StochasticLayer

Module = TypeVar("Module", bound=nn.Module)


class DropConnect(StochasticLayer):
    """Drops single weights at random, as a parametrization of any weight.

    w_ij = 0 with probability p, else v_ij / (1 - p), where v is the weight that is trained.

    Use it by `drop_connect(module, "weight", p)`. Every time the module reads its weight in
    training it gets another mask; a linear layer or a convolution reads it once a call.

    Args:
        p: Probability of dropping a weight; can be assigned to later.
        seed: Makes the masks a function of (seed, index of the read).

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`.

    Randomness:
        One key a read, as `Dropout`.

    Source:
        Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of Neural Networks using
        DropConnect", ICML 2013. Two deviations: one mask for the batch where the paper has one for
        every example, and the mean of the weights at test time where it samples a Gaussian.

    Example:
        >>> import torch
        >>> DropConnect(0.5, seed=1)(torch.ones(8, 8)).unique().tolist()
        [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__(p, seed)
        self._order: tuple[str, ...] = ()

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training:
            return weight
        try:
            return ops.dropout(weight, self.rate, key=self.key())
        except AttributeError as error:
            # A property that raises this looks absent to its module, and nn.LSTM goes on with the
            # weights it had before.
            raise RuntimeError(f"{self.label}: {error}") from error

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return what to train when somebody assigns to the weight: the value itself."""
        return weight

    def key(self) -> Tensor:
        """Return the key of this read."""
        return self.next_key()


def drop_connect(
    module: Module,
    name: str = "weight",
    p: float = 0.5,
    *,
    seed: int | None = None,
    kind: Callable[..., DropConnect] = DropConnect,
) -> Module:
    """Drop elements of one weight of `module` in training, and return the module.

    The keys of the module's `state_dict` stay as they were. `remove_drop_connect` gives the module
    back as it was, with the same parameter objects in the same order.

    Args:
        module: Any module with a parameter of that name; changed in place.
        name: Name of the parameter.
        p: Probability of dropping an element.
        seed: As in `DropConnect`.
        kind: Class of the parametrization.

    Returns:
        `module`.

    Raises:
        ArgumentError: If there is no such parameter, it has weight dropout already, or p is not a
            drop probability.

    Example:
        >>> layer = drop_connect(nn.Linear(4, 2), p=0.5)
        >>> sorted(layer.state_dict())
        ['bias', 'weight']
        >>> type(remove_drop_connect(layer)).__name__
        'Linear'
    """
    if find_drop_connect(module, name) is not None:
        raise ArgumentError(
            f"drop_connect: expected a weight without dropout, got {name!r}, which has it; assign "
            "to the p of module.parametrizations, or remove it first"
        )
    parametrized = parametrize.is_parametrized(module, name)
    if name not in module._parameters and not parametrized:
        raise ArgumentError(
            f"drop_connect: {type(module).__name__} has no parameter {name!r}"
            f"{nearest(name, module._parameters)}"
        )
    step = kind(p, seed=seed)
    step.train(module.training)
    step._order = tuple(module._parameters)
    if not any(_is_ours(hook, _plain_keys) for hook in module._state_dict_hooks.values()):
        module.register_state_dict_post_hook(_plain_keys)
        module.register_load_state_dict_pre_hook(_inner_keys)
    # Unsafe in torch's sense: a mask cannot be undone, and must not be drawn for a check.
    parametrize.register_parametrization(module, name, step, unsafe=True)
    return module


def remove_drop_connect(module: Module, name: str = "weight") -> Module:
    """Take weight dropout away again, and return the module.

    Args:
        module: A module that `drop_connect` or `weight_drop` was used on.
        name: Name of the parameter.

    Returns:
        `module`, with the parameter that was trained in its old place.

    Raises:
        ArgumentError: If that weight has no dropout, or has another parametrization besides.
    """
    step = find_drop_connect(module, name)
    if step is None:
        raise ArgumentError(
            f"remove_drop_connect: expected a weight with dropout, got {name!r} without; look at "
            "module.parametrizations"
        )
    chain = getattr(module.parametrizations, name)
    if len(chain) > 1:
        raise ArgumentError(
            f"remove_drop_connect: {name!r} has other parametrizations besides dropout; remove all "
            "of them by torch.nn.utils.parametrize.remove_parametrizations"
        )
    # Copies of a parametrized module share one class, and removing takes the property from it: give
    # this module a class of its own first.
    kind = type(module)
    own: Any = type(kind.__name__, kind.__bases__, dict(kind.__dict__))
    module.__class__ = own
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    for parameter in step._order:
        if parameter in module._parameters:
            module._parameters[parameter] = module._parameters.pop(parameter)
    if not any(find_drop_connect(module, other) for other in step._order):
        for hooks, ours in (
            (module._state_dict_hooks, _plain_keys),
            (module._load_state_dict_pre_hooks, _inner_keys),
        ):
            for number in [n for n, hook in hooks.items() if _is_ours(hook, ours)]:
                del hooks[number]
    return module


def find_drop_connect(module: nn.Module, name: str) -> DropConnect | None:
    """Return the dropout of a weight, None if it has none."""
    if not parametrize.is_parametrized(module, name):
        return None
    chain = getattr(module.parametrizations, name)
    return next((step for step in chain if isinstance(step, DropConnect)), None)


def _is_ours(hook: Any, ours: Callable[..., None]) -> bool:
    return getattr(hook, "hook", hook) is ours


def _renamed(module: nn.Module, prefix: str) -> list[tuple[str, str]]:
    names: Any = getattr(module, "parametrizations", {})
    return [
        (f"{prefix}{name}", f"{prefix}parametrizations.{name}.original")
        for name in names
        if find_drop_connect(module, name) is not None
    ]


def _plain_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Call the trained weight by its plain name, in the order the plain module has."""
    pairs = _renamed(module, prefix)
    for plain, inner in pairs:
        if inner in state:
            state[plain] = state.pop(inner)
    for plain, _inner in reversed(pairs):  # the first one knows the whole order
        step = find_drop_connect(module, plain.removeprefix(prefix))
        for name in step._order if step is not None else ():
            key = prefix + name
            if key in state:
                state[key] = state.pop(key)


def _inner_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for plain, inner in _renamed(module, prefix):
        if plain in state:
            state[inner] = state.pop(plain)
