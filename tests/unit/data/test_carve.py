"""Which examples are trained on, validated on, and kept for the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from droplab.data import DataSet, Split, StreamedSplit, carve
from droplab.errors import DataError
from droplab.recipe import DataSpec


def split(start: int, stop: int) -> Split:
    numbers = torch.arange(start, stop)
    return Split(numbers[:, None], numbers % 3)


@pytest.fixture
def dataset() -> DataSet:
    return DataSet("ten", split(0, 10), split(100, 104), ("a", "b", "c"), "here", "")


def numbers(part: Any) -> list[int] | None:
    if part is None:
        return None
    return [int(x) for x, _ in part.batches(torch.arange(len(part)), 1)]


@pytest.mark.parametrize(
    ("spec", "train", "validation", "test"),
    [
        ({"train": 4, "validation": 3}, range(4), range(4, 7), range(100, 104)),
        ({"validation": 3}, range(7), range(7, 10), range(100, 104)),
        ({"train": 7, "validation": 3}, range(7), range(7, 10), range(100, 104)),
        ({"validation": "test"}, range(10), range(100, 104), None),
        ({"train": 5, "validation": "test"}, range(5), range(100, 104), None),
        ({"train": 10, "validation": "test"}, range(10), range(100, 104), None),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_splits(
    dataset: DataSet, spec: Any, train: Any, validation: Any, test: Any, streamed: bool
) -> None:
    if streamed:
        items = [(torch.tensor([float(i)]), i % 3) for i in range(10)]
        whole = StreamedSplit(items, torch.arange(10), 3)
        dataset = DataSet("ten", whole, dataset.test, dataset.classes, "here", "")
    splits = carve(dataset, DataSpec("ten", **spec))
    assert numbers(splits.train) == list(train)
    assert numbers(splits.validation) == list(validation)
    assert numbers(splits.test) == (None if test is None else list(test))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"train": 8, "validation": 3}, "data.train: ten has 10 .* fewer than 8 .* and 3"),
        ({"validation": 10}, "data.validation: ten has 10 training .* leave none .*use 1 for"),
        ({"train": 1, "validation": 10}, "data.validation: .* leave none"),
        ({"train": 11, "validation": "test"}, "data.train: ten has 10 .* fewer than the 11"),
    ],
)
def test_too_few_examples(dataset: DataSet, spec: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        carve(dataset, DataSpec("ten", **spec))


def test_no_test_split_to_validate_on(dataset: DataSet) -> None:
    without = DataSet("ten", dataset.train, None, dataset.classes, "here", "")
    with pytest.raises(DataError, match="ten has no test split to validate on; give a number"):
        carve(without, DataSpec("ten", validation="test"))
    assert carve(without, DataSpec("ten", validation=3)).test is None


def test_sorted_labels_are_found(dataset: DataSet) -> None:
    """Trained on classes 0 and 1 alone, a network never gets class 2 right."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    by_class = DataSet("s", Split(torch.zeros(10, 1), labels), None, dataset.classes, "", "")
    with pytest.raises(DataError, match=r"labels are sorted, so class 2 .* shuffle"):
        carve(by_class, DataSpec("s", validation=3))
    rare = torch.tensor([0, 1, 0, 1, 0, 1, 0, 2, 1, 0])
    by_chance = DataSet("s", Split(torch.zeros(10, 1), rare), None, dataset.classes, "", "")
    assert len(carve(by_chance, DataSpec("s", validation=3)).train) == 7


def test_in_memory_splits_share_memory(dataset: DataSet) -> None:
    splits = carve(dataset, DataSpec("ten", train=4, validation=3))
    assert isinstance(splits.train, Split)
    assert isinstance(dataset.train, Split)
    assert splits.train.inputs.data_ptr() == dataset.train.inputs.data_ptr()
