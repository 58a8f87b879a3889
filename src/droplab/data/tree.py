"""What goes into a model: a tensor, or a tuple or dict of them, examples side by side."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeAlias, Union

import torch
from torch import Tensor

Inputs: TypeAlias = Union[Tensor, "tuple[Inputs, ...]", "dict[str, Inputs]"]
"""One tensor, which a model takes as it is; or several, in a tuple or a dict, which may be nested.

All have the examples in their first dimension.
"""


def leaves(inputs: Inputs) -> list[Tensor]:
    """Return the tensors of some inputs, in order.

    Example:
        >>> [len(x) for x in leaves({"x": torch.zeros(3, 2), "more": (torch.zeros(3),)})]
        [3, 3]
    """
    if isinstance(inputs, Tensor):
        return [inputs]
    parts = inputs.values() if isinstance(inputs, dict) else inputs
    return [tensor for part in parts for tensor in leaves(part)]


def named(inputs: Inputs, at: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of some inputs and where each stands: "['x']", "[0]"; "" for one alone."""
    if isinstance(inputs, Tensor):
        yield at, inputs
    elif isinstance(inputs, dict):
        for name, each in inputs.items():
            yield from named(each, f"{at}[{name!r}]")
    else:
        for number, each in enumerate(inputs):
            yield from named(each, f"{at}[{number}]")


def mapped(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Return what a function makes of every tensor, in the same places.

    Example:
        >>> mapped(torch.numel, (torch.zeros(3, 2), torch.zeros(3)))
        (6, 3)
    """
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: mapped(function, each) for name, each in inputs.items()}
    return tuple(mapped(function, each) for each in inputs)


def rebuilt(like: Inputs, tensors: Iterable[Tensor]) -> Inputs:
    """Return tensors, as `leaves` lists them, in the places that others have in `like`."""
    rest = iter(tensors)
    return mapped(lambda _: next(rest), like)


def merged(function: Callable[[list[Tensor]], Tensor], parts: Sequence[Inputs]) -> Inputs:
    """Return what a function makes of the tensors that stand at the same place, for every place.

    Example:
        >>> merged(torch.stack, [{"x": torch.zeros(2)}, {"x": torch.ones(2)}])["x"].shape
        torch.Size([2, 2])
    """
    return rebuilt(
        parts[0], [function(list(same)) for same in zip(*map(leaves, parts), strict=True)]
    )


def cut(function: Callable[[Tensor], Sequence[Tensor]], inputs: Inputs) -> Iterable[Inputs]:
    """Return the pieces into which a function cuts every tensor, as inputs each."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    pieces = [function(tensor) for tensor in leaves(inputs)]
    return [rebuilt(inputs, same) for same in zip(*pieces, strict=True)]


def rows(inputs: Inputs, index: Tensor) -> Inputs:
    """Return the examples with these numbers."""
    # for rows of bytes, indexing takes twenty times as long as selecting
    return mapped(lambda x: x.index_select(0, index), inputs)


def of_first(inputs: Inputs, number: int) -> Inputs:
    """Return what every tensor has at this place of its first dimension, which is gone then."""
    return mapped(lambda x: x[number], inputs)


def moved(inputs: Inputs, device: torch.device | None) -> Inputs:
    """Return inputs on a device; None: where they are."""
    return mapped(lambda x: x.to(device), inputs)


def shape_of(inputs: Inputs) -> Hashable:
    """Return what is equal for inputs that have the same shapes in the same places."""
    return inputs.shape if isinstance(inputs, Tensor) else tuple(x.shape for x in leaves(inputs))


def numbers_of(inputs: Inputs) -> int:
    """Return how many numbers an example has."""
    return sum(tensor[:1].numel() for tensor in leaves(inputs))


def described(inputs: Inputs) -> str:
    """Return shapes and dtypes in words.

    Example:
        >>> described(torch.zeros(2, 3))
        'shape (2, 3) (torch.float32)'
        >>> described({"x": torch.zeros(2, 3), "n": torch.ones(2)})
        "['x'] (2, 3) torch.float32, ['n'] (2,) torch.float32"
    """
    if isinstance(inputs, Tensor):
        return f"shape {tuple(inputs.shape)} ({inputs.dtype})"
    return ", ".join(f"{at} {tuple(x.shape)} {x.dtype}" for at, x in named(inputs))


def alike(one: Inputs, two: Inputs) -> bool:
    """Whether inputs have tensors of the same shapes and dtypes in the same places."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and one.dtype == two.dtype
    pairs = list(named(one)), list(named(two))
    return len(pairs[0]) == len(pairs[1]) and all(
        at == there and alike(x, y) for (at, x), (there, y) in zip(*pairs, strict=True)
    )
