"""The data of a prediction in blocks of one size, whatever it comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from droplab.errors import ArgumentError, quote

ROWS = 64
"""Inputs that go through the model together. Masks depend on an input's place in the data, and so
on this number, and on nothing that anybody chooses."""


def blocks(data: Any) -> Iterator[Any]:
    """Yield the data in blocks of `ROWS` inputs."""
    if _is_batch(data):
        count = rows_of(data)
        yield from (cut(data, at, at + ROWS) for at in range(0, count, ROWS))
        return
    if isinstance(data, torch.utils.data.DataLoader):
        batches = map(_inputs, data)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        batches = (_row(_inputs(data[i]), i) for i in range(len(data)))
    else:
        iterable = isinstance(data, Iterable)
        raise ArgumentError(
            "data: expected a tensor, a tuple, a mapping, a loader or a data set, got "
            f"{quote(data)}{'; give a DataLoader of it, or a list' if iterable else ''}"
        )
    yield from _joined(batches)


def count_of(data: Any) -> int | None:
    """Return how many inputs there are; None if only reading them tells."""
    if _is_batch(data):
        return rows_of(data)
    if isinstance(data, torch.utils.data.DataLoader):
        sampler: Any = data.sampler
        known = data.batch_sampler is not None and not data.drop_last
        return len(sampler) if known and hasattr(sampler, "__len__") else None
    return len(data) if hasattr(data, "__len__") else None


def _is_batch(data: Any) -> bool:
    """Return whether data is all inputs at once; a list of anything but tensors is a data set."""
    if isinstance(data, list):
        return all(isinstance(each, Tensor) for each in data)
    return isinstance(data, Tensor | tuple | Mapping)


def _joined(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield blocks of `ROWS` from batches of any size."""
    held: list[Any] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += rows_of(batch)
        if count >= ROWS:
            together = tree_map(lambda *parts: torch.cat(parts), *held)
            full = count // ROWS * ROWS
            yield from (cut(together, at, at + ROWS) for at in range(0, full, ROWS))
            held, count = ([cut(together, full, count)], count - full) if count > full else ([], 0)
    if held:
        yield tree_map(lambda *parts: torch.cat(parts), *held)


def _inputs(item: Any) -> Any:
    """Return the input of an item, which may be a pair with its target."""
    return item[0] if isinstance(item, tuple | list) and len(item) == 2 else item


def _row(item: Any, number: int) -> Any:
    try:
        return tree_map(lambda x: torch.as_tensor(x).unsqueeze(0), item)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"data: expected items of tensors, arrays or numbers, got {quote(item)} as item "
            f"{number}; turn it into a tensor where the data is read"
        ) from error


def rows_of(block: Any) -> int:
    tensors = [x for x in tree_leaves(block) if isinstance(x, Tensor)]
    if not tensors or any(x.dim() == 0 for x in tensors):
        found = ", ".join(dict.fromkeys(type(x).__name__ for x in tree_leaves(block)))
        raise ArgumentError(
            "data: expected tensors with one row for each input, got "
            f"{'a number alone' if tensors else found or 'none'}"
        )
    sizes = {len(x) for x in tensors}
    if len(sizes) > 1:
        listed = ", ".join(map(str, sorted(sizes)))
        raise ArgumentError(f"data: expected as many rows in every tensor, got {listed}")
    return sizes.pop()


def cut(block: Any, start: int, stop: int) -> Any:
    return tree_map(lambda x: x[start:stop] if isinstance(x, Tensor) else x, block)


def example_of(block: Any) -> Any:
    """Return a batch to see the model by; of one input, twice that: a BatchNorm needs two."""
    if rows_of(block) > 1:
        return block
    return tree_map(lambda x: torch.cat((x, x)) if isinstance(x, Tensor) else x, block)
