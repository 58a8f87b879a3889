"""Splits in memory and streamed: the same batches, and no number drawn on the side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from droplab.data import Split, StreamedSplit, to_float
from droplab.errors import ArgumentError, DataError

IMAGES = torch.randint(0, 256, (10, 3, 4, 5), generator=torch.Generator().manual_seed(0))
IMAGES = IMAGES.to(torch.uint8)
LABELS = torch.arange(10) % 4


class Pictures(Dataset[tuple[Any, int]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return Image.fromarray(IMAGES[index].permute(1, 2, 0).numpy()), int(LABELS[index])


def test_uint8_becomes_float_as_to_tensor_does_it() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(every), every.to(torch.float32) / 255)
    assert to_float(torch.tensor([True, False])).tolist() == [1.0, 0.0]
    for dtype in (torch.float32, torch.float16, torch.int64):
        kept = torch.zeros(3, dtype=dtype)
        assert to_float(kept) is kept


def test_both_kinds_of_split_give_the_same_batches() -> None:
    """In any order, with a last batch that is smaller."""
    splits = [
        Split(IMAGES, LABELS),
        StreamedSplit(Pictures(), torch.arange(10), 4),
        StreamedSplit(TensorDataset(IMAGES, LABELS), torch.arange(10), 4),
        StreamedSplit(list(zip(IMAGES.numpy(), LABELS.numpy(), strict=True)), torch.arange(10)),
    ]
    order = torch.tensor([7, 2, 9, 0, 1, 3, 3])
    for split in splits:
        batches = list(split.batches(order, 3))
        assert [len(y) for _, y in batches] == [3, 3, 1]
        assert torch.equal(torch.cat([x for x, _ in batches]), to_float(IMAGES[order]))
        assert torch.equal(torch.cat([y for _, y in batches]), LABELS[order])
        assert all(y.dtype == torch.int64 for _, y in batches)
        part = split.subset(2, 6)
        ((x, y),) = part.batches(torch.tensor([3, 0]), 5)
        assert torch.equal(x, to_float(IMAGES[[5, 2]]))
        assert torch.equal(y, LABELS[[5, 2]])
        assert (len(split), len(part), len(part.subset(1, 9))) == (10, 4, 3)


def test_worker_processes_keep_the_order() -> None:
    split = StreamedSplit(TensorDataset(IMAGES, LABELS), torch.arange(10), 4, workers=2)
    order = torch.tensor([9, 0, 5, 5, 1])
    assert torch.equal(torch.cat([y for _, y in split.batches(order, 2)]), LABELS[order])


def test_batches_leave_the_default_generator_alone() -> None:
    for split in (Split(IMAGES, LABELS), StreamedSplit(Pictures(), torch.arange(10), 4)):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        list(split.batches(torch.arange(10), 4))
        assert torch.equal(torch.rand(3), expected)


def test_a_split_refuses_what_does_not_fit() -> None:
    with pytest.raises(ArgumentError, match="targets: expected int64"):
        Split(IMAGES, LABELS.double())
    with pytest.raises(ArgumentError, match=r"targets: .*shape \(\)"):
        Split(IMAGES, LABELS[0])
    with pytest.raises(ArgumentError, match=r"inputs: .*N = 9"):
        Split(IMAGES, LABELS[:9])
    with pytest.raises(ArgumentError, match="inputs: "):
        Split(LABELS, LABELS)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.zeros(3), r"item 1: expected a pair \(input, class number\), got Tensor"),
        ((torch.zeros(3), 1, 2), "item 1: expected a pair .* got tuple of length 3"),
        (("a picture", 1), "item 1: expected a tensor, an array or a PIL image .* got str"),
        ((torch.zeros(3), 1.5), "item 1: expected a class number, .* got 1.5"),
        ((torch.zeros(3), "cat"), "item 1: expected a class number, .* got 'cat'"),
        ((torch.zeros(3), torch.zeros(2)), "item 1: expected a class number"),
        (
            (torch.zeros(3), -1),
            "item 1: expected class numbers, from 0 to 3, .*, got -1; .* have no label",
        ),
        ((torch.zeros(3), 4), "item 1: expected class numbers, from 0 to 3, .*, got 4"),
        ((torch.zeros(2), 1), r"items of one shape .* \(3,\) .* at 0 and \(2,\) .* at 1"),
        ((torch.zeros(3).long(), 1), "items of one shape and dtype"),
        ((np.array([None] * 3), 1), "never unpickled"),
        ((np.array(["a"]), 1), "expected an array of numbers, got dtype <U1"),
        ((Image.new("I;16", (2, 2)), 1), "expected an image with 8 bits a channel, got mode I;16"),
    ],
)
def test_bad_items_are_named(item: Any, message: str) -> None:
    split = StreamedSplit([(torch.zeros(3), 0), item], torch.arange(2), 4)
    with pytest.raises(DataError, match=message):
        list(split.batches(torch.arange(2), 2))


def test_inputs_come_in_the_dtypes_that_models_have() -> None:
    cases: list[tuple[Any, torch.dtype]] = [
        (np.zeros(2), torch.float32),
        (np.zeros(2, ">f4"), torch.float32),
        (np.zeros(2, "u2"), torch.int64),
        (np.zeros(2, "i4"), torch.int64),
        (np.zeros(2, "u1"), torch.float32),
        (np.zeros(2, "f2"), torch.float16),
        (torch.zeros(2, dtype=torch.float64), torch.float32),
        (Image.new("1", (2, 2)), torch.float32),
        (Image.new("P", (2, 2)), torch.float32),
    ]
    for value, dtype in cases:
        ((x, _),) = StreamedSplit([(value, 0)], torch.arange(1)).batches(torch.arange(1), 1)
        assert x.dtype == dtype


def test_pictures_become_channels_first() -> None:
    shapes = {"L": (1, 3, 2), "1": (1, 3, 2), "LA": (1, 3, 2), "RGB": (3, 3, 2), "RGBA": (3, 3, 2)}
    for mode, shape in shapes.items():
        items = [(Image.new(mode, (2, 3)), 0)]
        ((x, _),) = StreamedSplit(items, torch.arange(1)).batches(torch.arange(1), 1)
        assert x.shape == (1, *shape)


def test_numbers_alone_get_a_second_dimension() -> None:
    items = [(torch.tensor(float(i)), 0) for i in range(3)]
    ((x, _),) = StreamedSplit(items, torch.arange(3)).batches(torch.arange(3), 3)
    assert x.shape == (3, 1)
