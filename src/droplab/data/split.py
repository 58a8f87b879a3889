"""Examples in memory, in the data set's own dtype, and the way to float batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.errors import ArgumentError

_GATHER = 1 << 18
"""About how many numbers are gathered at once: a megabyte of floats stays in the cache."""

Batch = tuple[Tensor, Tensor]
"""Inputs as `to_float` makes them, and targets."""


def to_float(inputs: Tensor) -> Tensor:
    """Return `inputs` as a model takes them: uint8 as float32 in [0, 1], the rest as it is.

    uint8 -> x / 255, bool -> 0.0 or 1.0. Floats stay, and so do other integers, which are token
    numbers for an embedding.

    Example:
        >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if inputs.dtype == torch.uint8:
        return inputs.to(torch.float32).div_(255)
    return inputs.to(torch.float32) if inputs.dtype == torch.bool else inputs


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory.

    Args:
        inputs: (N, ...) in the data set's own dtype; images are uint8 and (N, C, H, W).
        targets: int64 (N,), class numbers from 0; of other tasks float32 or int64 (N, ...).

    Raises:
        ArgumentError: If the two do not fit together.

    Example:
        >>> split = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1, 0]))
        >>> len(split), [len(y) for _, y in split.batches(torch.tensor([3, 0, 2]), 2)]
        (4, [2, 1])
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if self.targets.ndim < 1 or self.targets.dtype not in (torch.int64, torch.float32):
            raise ArgumentError(
                "targets: expected int64 class numbers of shape (N,), or targets of another task, "
                f"int64 or float32 of shape (N, ...), got {self.targets.dtype} of shape "
                f"{tuple(self.targets.shape)}"
            )
        if self.inputs.ndim < 2 or len(self.inputs) != len(self.targets):
            raise ArgumentError(
                f"inputs: expected shape (N, ...) with N = {len(self.targets)} as targets have, "
                f"got {tuple(self.inputs.shape)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def has_classes(self) -> bool:
        """Whether targets are class numbers, one an example."""
        return self.targets.ndim == 1 and self.targets.dtype == torch.int64

    def subset(self, start: int, stop: int) -> Split:
        """Return the examples from `start` up to `stop`, without a copy."""
        return Split(self.inputs[start:stop], self.targets[start:stop])

    def select(self, rows: Tensor) -> Split:
        """Return a copy of some examples, by their numbers, int64 (M,)."""
        return Split(self.inputs.index_select(0, rows), self.targets.index_select(0, rows))

    def batches(self, order: Tensor, batch_size: int) -> Iterator[Batch]:
        """Yield float inputs and targets in the given order; the last batch may be smaller.

        Args:
            order: int64 (M,), which examples, in which order.
            batch_size: Examples a batch, at least 1.
        """
        width = max(1, self.inputs[:1].numel())
        # Several small batches are gathered and converted at once: fewer, larger operations.
        together = max(1, _GATHER // (batch_size * width))
        for index in order.split(batch_size * together):
            # for rows of bytes, indexing takes twenty times as long as selecting
            inputs = to_float(self.inputs.index_select(0, index))
            targets = self.targets.index_select(0, index)
            yield from zip(inputs.split(batch_size), targets.split(batch_size), strict=True)
