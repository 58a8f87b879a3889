"""Examples that do not fit in memory, or whose items are random and must stay so."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from droplab.data._items import as_input, as_target, as_value, check_alike, gather, stacked
from droplab.data._targets import CLASSES_OF
from droplab.data.split import Batch, to_float
from droplab.data.tree import Inputs


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """Examples of a map-style data set, read batch by batch.

    Args:
        dataset: Has `__len__` and `__getitem__`; an item is (input, class number), or (input,
            target) of another task. Several inputs are a tuple or a dict.
        indices: int64 (N,), which items belong to the split.
        classes: How many classes there are; 0 if unknown.
        workers: Processes that read ahead; 0 reads in this one.
        task: What targets are read for.

    Randomness: none of its own. The order is an argument, and the loader's generator is private,
        so nothing is drawn from torch's default generator except by the items themselves.

    Example:
        >>> items = [(torch.tensor([float(i)]), i % 2) for i in range(5)]
        >>> split = StreamedSplit(items, torch.arange(5), classes=2)
        >>> [y.tolist() for _, y in split.batches(torch.tensor([4, 1, 0]), 2)]
        [[0, 1], [0]]
    """

    dataset: Any
    indices: Tensor
    classes: int = 0
    workers: int = 0
    task: str = "classification"

    def __len__(self) -> int:
        return len(self.indices)

    def subset(self, start: int, stop: int) -> StreamedSplit:
        """Return the examples from `start` up to `stop`."""
        return dataclasses.replace(self, indices=self.indices[start:stop])

    def select(self, numbers: Tensor) -> StreamedSplit:
        """Return some of the examples, by their numbers, int64 (M,)."""
        return dataclasses.replace(self, indices=self.indices[numbers])

    def batches(self, order: Tensor, batch_size: int) -> Iterator[Batch]:
        """Yield float inputs and targets in the given order; the last batch may be smaller.

        Args:
            order: int64 (M,), which examples of this split, in which order.
            batch_size: Examples a batch, at least 1.

        Raises:
            DataError: If an item is not (input, class number), or items differ in shape.
        """
        checked: Any = _Checked(self.dataset, self.classes, self.task)
        loader = DataLoader(
            checked,
            batch_sampler=[index.tolist() for index in self.indices[order].split(batch_size)],
            num_workers=self.workers,
            collate_fn=_collate,
            # The loader draws a number for its workers; from the default generator that would
            # shift whatever else the user draws from it.
            generator=torch.Generator(),
        )
        for inputs, targets in loader:
            yield to_float(inputs), targets


class _Checked:
    """A data set whose items are converted and checked where they are read."""

    def __init__(self, dataset: Any, classes: int, task: str) -> None:
        self.dataset, self.classes, self.task = dataset, classes, task

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Inputs, int | Tensor]:
        item = self.dataset[index]
        if self.task in CLASSES_OF:
            return index, as_input(item, index), as_target(item, index, self.classes)
        return index, as_input(item, index), as_value(item, index, self.task)


def _collate(items: Sequence[tuple[int, Inputs, int | Tensor]]) -> Batch:
    for index, item, _ in items:
        check_alike(items[0][1], item, items[0][0], index)
    return gather([item for _, item, _ in items]), stacked([item[2] for item in items])
