"""Which examples are trained on, validated on, and kept for the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from droplab.data import DataSet, Split, StreamedSplit, carve, doubts
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
    with pytest.raises(DataError, match=r"labels are sorted .* so class 2 .* shuffle"):
        carve(by_class, DataSpec("s", validation=3))
    rare = torch.tensor([0, 1, 0, 1, 0, 1, 0, 2, 1, 0])
    by_chance = DataSet("s", Split(torch.zeros(10, 1), rare), None, dataset.classes, "", "")
    assert len(carve(by_chance, DataSpec("s", validation=3)).train) == 7


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("order", ["ascending", "descending", "blocks", "blocks twice"])
@pytest.mark.parametrize(
    "spec", [{"validation": 40}, {"train": 100, "validation": 100}, {"train": 60}]
)
def test_an_order_by_class_is_refused_and_a_mixed_one_is_not(
    seed: int, classes: int, order: str, spec: Any
) -> None:
    """Either every class is in both parts, or the order is named; mixed data always passes."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randint(0, classes, (400,), generator=random)
    kinds = torch.randperm(classes, generator=random)
    blocks = torch.cat([mixed[mixed == kind] for kind in kinds.tolist()])
    labels = {
        "ascending": mixed.sort().values,
        "descending": mixed.sort(descending=True).values,
        "blocks": blocks,
        "blocks twice": torch.cat([blocks[::2], blocks[1::2]]),
    }[order]

    def cut(targets: torch.Tensor) -> Any:
        official = Split(torch.zeros(30, 1), torch.arange(30) % classes)
        data = DataSet("s", Split(torch.zeros(400, 1), targets), official, (), "", "")
        return carve(data, DataSpec("s", **spec))

    assert cut(mixed).notes == ()
    end = spec.get("train", 360)
    parts = [labels[:end]]
    if "validation" in spec:
        parts.append(labels[end : end + spec["validation"]])
    if all(len(part.unique()) == classes for part in parts):
        assert order == "blocks twice"
        assert cut(labels).notes == ()
        return
    with pytest.raises(DataError, match=r"sorted or stand in blocks, .* shuffle the data once"):
        cut(labels)


def test_a_class_that_is_not_trained_on_by_chance_is_said(dataset: DataSet) -> None:
    rare = torch.tensor([0, 1, 0, 1, 0, 1, 0, 2, 1, 0])
    by_chance = DataSet("s", Split(torch.zeros(10, 1), rare), None, dataset.classes, "", "")
    (note,) = doubts(carve(by_chance, DataSpec("s", validation=3)), 3).notes
    assert note == ("Class 2 (1 of 3 validation examples) is validated on and never trained on.")


def test_in_memory_splits_share_memory(dataset: DataSet) -> None:
    splits = carve(dataset, DataSpec("ten", train=4, validation=3))
    assert isinstance(splits.train, Split)
    assert isinstance(dataset.train, Split)
    assert splits.train.inputs.data_ptr() == dataset.train.inputs.data_ptr()
