"""Examples in memory, in the data set's own dtype, and the way to float batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from droplab.data.tree import Inputs, cut, leaves, mapped, named, numbers_of, rows
from droplab.errors import ArgumentError

_GATHER = 1 << 18
"""About how many numbers are gathered at once: a megabyte of floats stays in the cache."""

Batch = tuple[Inputs, Tensor]
"""Inputs as `to_float` makes them, and targets."""


@overload
def to_float(inputs: Tensor) -> Tensor: ...


@overload
def to_float(inputs: Inputs) -> Inputs: ...


def to_float(inputs: Inputs) -> Inputs:
    """Return `inputs` as a model takes them: uint8 as float32 in [0, 1], the rest as it is.

    uint8 -> x / 255, bool -> 0.0 or 1.0. Floats stay, and so do other integers, which are token
    numbers for an embedding. Of several inputs, bool stays, since it is a mask there, and uint8 of
    shape (N,), one number an example, becomes int64: lengths are no images.

    Example:
        >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
        >>> to_float((torch.tensor([[True, False]]), torch.tensor([3], dtype=torch.uint8)))
        (tensor([[ True, False]]), tensor([3]))
    """
    if not isinstance(inputs, Tensor):
        return mapped(_part_to_float, inputs)
    if inputs.dtype == torch.uint8:
        return inputs.to(torch.float32).div_(255)
    return inputs.to(torch.float32) if inputs.dtype == torch.bool else inputs


def _part_to_float(part: Tensor) -> Tensor:
    if part.dtype == torch.uint8 and part.ndim == 1:
        return part.long()
    return part if part.dtype == torch.bool else to_float(part)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory.

    Args:
        inputs: (N, ...) in the data set's own dtype; images are uint8 and (N, C, H, W). Several
            inputs are a tuple or a dict of such tensors, of which some may be (N,).
        targets: int64 (N,), class numbers from 0; of other tasks float32 or int64 (N, ...).
        weights: float32 (N,), how much each example counts in the loss; None: all the same.

    Raises:
        ArgumentError: If the two do not fit together.

    Example:
        >>> split = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1, 0]))
        >>> len(split), [len(y) for _, y in split.batches(torch.tensor([3, 0, 2]), 2)]
        (4, [2, 1])
    """

    inputs: Inputs
    targets: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.targets.ndim < 1 or self.targets.dtype not in (torch.int64, torch.float32):
            raise ArgumentError(
                "targets: expected int64 class numbers of shape (N,), or targets of another task, "
                f"int64 or float32 of shape (N, ...), got {self.targets.dtype} of shape "
                f"{tuple(self.targets.shape)}"
            )
        least = 2 if isinstance(self.inputs, Tensor) else 1
        if not leaves(self.inputs):
            raise ArgumentError("inputs: expected at least one tensor, got none")
        for at, tensor in named(self.inputs):
            if tensor.ndim < least or len(tensor) != len(self.targets):
                raise ArgumentError(
                    f"inputs{at}: expected shape (N, ...) with N = {len(self.targets)} as targets "
                    f"have, got {tuple(tensor.shape)}"
                )

        weights = self.weights
        if weights is not None and (
            weights.shape != self.targets.shape[:1] or weights.dtype != torch.float32
        ):
            raise ArgumentError(
                f"weights: expected float32 of shape ({len(self.targets)},), a number an example, "
                f"got {weights.dtype} of shape {tuple(weights.shape)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def packed(self) -> Tensor:
        """Targets as batches have them: with weights float32 (N, D + 1), the weight last."""
        if self.weights is None:
            return self.targets
        flat = self.targets.to(torch.float32).reshape(len(self), -1)
        return torch.cat((flat, self.weights[:, None]), dim=1)

    @property
    def has_classes(self) -> bool:
        """Whether targets are class numbers, one an example."""
        return self.targets.ndim == 1 and self.targets.dtype == torch.int64

    def subset(self, start: int, stop: int) -> Split:
        """Return the examples from `start` up to `stop`, without a copy."""
        weights = None if self.weights is None else self.weights[start:stop]
        inputs = mapped(lambda x: x[start:stop], self.inputs)
        return Split(inputs, self.targets[start:stop], weights)

    def select(self, numbers: Tensor) -> Split:
        """Return a copy of some examples, by their numbers, int64 (M,)."""
        weights = None if self.weights is None else self.weights.index_select(0, numbers)
        inputs = rows(self.inputs, numbers)
        return Split(inputs, self.targets.index_select(0, numbers), weights)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[Batch]:
        """Yield float inputs and packed targets in the given order; the last batch may be smaller.

        Args:
            order: int64 (M,), which examples, in which order.
            batch_size: Examples a batch, at least 1.
        """
        width = max(1, numbers_of(self.inputs))
        # Several small batches are gathered and converted at once: fewer, larger operations.
        together = max(1, _GATHER // (batch_size * width))
        packed = self.packed
        for index in order.split(batch_size * together):
            inputs = cut(lambda x: x.split(batch_size), to_float(rows(self.inputs, index)))
            targets = packed.index_select(0, index)
            yield from zip(inputs, targets.split(batch_size), strict=True)
