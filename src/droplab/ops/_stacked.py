"""The draws of a batch in which several batches are stacked, each with a key of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from droplab.ops._library import dropout_op, keep_mask_op, words_op

_CANNOT = "droplab: stacked batches: "
"""How the words of the RuntimeError begin."""


class StackedDraws(TorchFunctionMode):
    """Gives each of several batches that are stacked into one the masks that it has alone.

    First one batch alone runs inside `StackedDraws()`, which notes what is drawn. Then those that
    are stacked along their first axis run inside the same object, after `stack`. Where the axis of
    the batch is in what is drawn follows from what differs between both; a model that lays it out
    in another way, batches not one after the other, gets wrong masks, so whoever stacks compares.

    Raises:
        RuntimeError: Inside, if the draws are not those of one batch, each with one longer axis.

    Example:
        >>> from droplab.ops import dropout, make_key
        >>> x, key = torch.ones(4, 8), make_key(seed=1)
        >>> draws = StackedDraws()
        >>> with draws:
        ...     alone = dropout(x, 0.5, key=key)
        >>> with draws.stack(torch.tensor([0, 1, 2])):  # three batches, with calls 0, 1 and 2
        ...     found = dropout(x.repeat(3, 1), 0.5, key=key)
        >>> bool((found[:4] == alone).all()), bool((found[4:8] == alone).all())
        (True, False)
    """

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        """What one batch draws, in order."""
        self.axes: list[int] = []
        """Where the axis of the batch is in it."""
        self.calls: Tensor | None = None
        self.count = 0

    def stack(self, calls: Tensor) -> StackedDraws:
        """Expect as many batches as `calls` from now on.

        Args:
            calls: How far the call index of each is from that of the keys that are given, int64.
        """
        self.calls = torch.stack((torch.zeros_like(calls), calls), dim=-1)
        self.count = 0
        return self

    def check(self) -> None:
        """Make sure that all was drawn that one batch draws."""
        if self.count != len(self.shapes):
            raise RuntimeError(f"{_CANNOT}{self.count} draws where one has {len(self.shapes)}")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        split = _SPLIT.get(func)
        if split is None:
            return func(*args, **(kwargs or {}))
        given = args[0]
        shape = tuple(given.shape if isinstance(given, Tensor) else given)
        if self.calls is None:
            self.shapes.append(shape)
            return func(*args)
        axis = self._axis(shape)
        out = split(func, args, shape[axis] // len(self.calls), axis, args[1] + self.calls)
        return out.movedim(0, axis).flatten(axis, axis + 1)

    def _axis(self, shape: tuple[int, ...]) -> int:
        assert self.calls is not None
        number, units = self.count, len(self.calls)
        if number == len(self.shapes):
            raise RuntimeError(f"{_CANNOT}more draws than one has")
        self.count += 1
        if number == len(self.axes):
            single = self.shapes[number]
            apart = [i for i, size in enumerate(shape) if (size,) != single[i : i + 1]]
            if len(shape) != len(single) or len(apart) != 1:
                raise RuntimeError(f"{_CANNOT}a draw of {shape} where one has {single}")
            self.axes.append(apart[0])
        axis = self.axes[number]
        if axis >= len(shape) or shape[axis] % units:
            raise RuntimeError(f"{_CANNOT}a draw of {shape} for {units}")
        return axis


def _split_dropout(func: Any, args: Sequence[Any], size: int, axis: int, keys: Tensor) -> Tensor:
    x, _, rate, p, noise_shape, backend, batched = args
    _refuse_rows(batched)
    rows = x.unflatten(axis, (len(keys), size)).movedim(axis, 0)
    if noise_shape is not None:
        noise_shape = list(noise_shape)
        noise_shape[axis] = min(noise_shape[axis], size)
    return func(rows, keys, rate, p, noise_shape, backend, True)


def _split_keep_mask(func: Any, args: Sequence[Any], size: int, axis: int, keys: Tensor) -> Tensor:
    shape, _, rate, p, rows, *where = args
    _refuse_rows(rows)
    return func(_with(shape, axis, size), keys, rate, p, len(keys), *where)


def _split_words(func: Any, args: Sequence[Any], size: int, axis: int, keys: Tensor) -> Tensor:
    shape, _, rows, *where = args
    _refuse_rows(rows)
    return func(_with(shape, axis, size), keys, len(keys), *where)


def _with(shape: Sequence[int], axis: int, size: int) -> list[int]:
    return [*shape[:axis], size, *shape[axis + 1 :]]


def _refuse_rows(rows: Any) -> None:
    if rows:
        raise RuntimeError(f"{_CANNOT}a draw that has several keys already")


_SPLIT: Mapping[Any, Callable[..., Tensor]] = {
    dropout_op._opoverload: _split_dropout,
    keep_mask_op._opoverload: _split_keep_mask,
    words_op._opoverload: _split_words,
}
