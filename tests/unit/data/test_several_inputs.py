"""Examples with several inputs: a tuple or a dict of tensors beside one target."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from droplab.data import Split, StreamedSplit, carve
from droplab.data._memory import as_split
from droplab.data.dataset import DataSet, content_checksum
from droplab.data.tree import leaves, named
from droplab.errors import ArgumentError, DataError
from droplab.recipe import DataSpec

COUNT = 11
LABELS = torch.arange(COUNT) % 2
IMAGES = torch.arange(COUNT * 12, dtype=torch.uint8).view(COUNT, 3, 4)
NUMBERS = torch.randn(COUNT, 5, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.arange(COUNT) % 4 + 1
MASK = torch.arange(4) < LENGTHS[:, None]

FORMS: dict[str, Any] = {
    "a tuple": (IMAGES, NUMBERS),
    "a dict": {"x": NUMBERS, "lengths": LENGTHS, "mask": MASK},
    "nested": {"pair": (IMAGES, LENGTHS), "more": {"mask": MASK}},
    "one in a dict": {"x": NUMBERS},
}


def at(inputs: Any, i: int) -> Any:
    if isinstance(inputs, Tensor):
        return inputs[i]
    if isinstance(inputs, dict):
        return {name: at(each, i) for name, each in inputs.items()}
    return tuple(at(each, i) for each in inputs)


def items(inputs: Any) -> list[Any]:
    return [(at(inputs, i), int(LABELS[i])) for i in range(COUNT)]


def as_read(items: Any, **options: Any) -> Any:
    options = {"name": "it", "classes": 2, "in_memory": True, **options}
    return as_split(items, progress=lambda *_: None, **options)


def same(one: Any, two: Any) -> bool:
    pairs = list(named(one)), list(named(two))
    assert [place for place, _ in pairs[0]] == [place for place, _ in pairs[1]]
    return all(
        x.dtype == y.dtype and torch.equal(x, y) for (_, x), (_, y) in zip(*pairs, strict=True)
    )


@pytest.mark.parametrize("form", FORMS)
def test_all_kinds_of_split_give_the_same_batches(form: str) -> None:
    inputs = FORMS[form]
    order = torch.tensor([3, 0, 7, 10, 2])
    batches = [
        list(split.batches(order, 2))
        for split in (
            Split(inputs, LABELS),
            as_read(items(inputs)),
            StreamedSplit(items(inputs), torch.arange(COUNT), 2),
        )
    ]
    assert [len(targets) for _, targets in batches[0]] == [2, 2, 1]
    for others in batches[1:]:
        for (x, targets), (y, expected) in zip(others, batches[0], strict=True):
            assert same(x, y)
            assert torch.equal(targets, expected)
    for number, (x, targets) in enumerate(batches[0]):
        index = order[2 * number : 2 * number + 2]
        assert torch.equal(targets, LABELS[index])
        for tensor, whole in zip(leaves(x), leaves(inputs), strict=True):
            floats = whole[index].float() / 255 if whole.dtype == torch.uint8 else whole[index]
            assert torch.equal(tensor, floats)


def test_masks_stay_masks_and_lengths_stay_whole() -> None:
    """A bool mask as floats would be added to attention, and lengths divided by 255."""
    inputs = {"image": IMAGES, "mask": MASK, "lengths": LENGTHS.to(torch.uint8)}
    ((x, _),) = Split(inputs, LABELS).batches(torch.arange(COUNT), COUNT)
    assert {name: each.dtype for name, each in x.items()} == {  # pyright: ignore
        "image": torch.float32,
        "mask": torch.bool,
        "lengths": torch.int64,
    }
    assert torch.equal(x["lengths"], LENGTHS)  # pyright: ignore


@pytest.mark.parametrize("number", [3, 3.5, True, np.int32(3), np.float64(3.5), np.uint8(3)])
def test_a_number_may_stand_beside_a_tensor(number: Any) -> None:
    (((x, n), _),) = StreamedSplit([((NUMBERS[0], number), 0)], torch.arange(1)).batches(
        torch.arange(1), 1
    )
    assert x.shape == (1, 5)
    assert n.shape == (1,)
    assert n.item() == number
    assert n.dtype in (torch.int64, torch.float32, torch.bool)


def test_parts_of_a_split_are_parts_of_every_input() -> None:
    whole = DataSet("s", Split(FORMS["nested"], LABELS), None, ("a", "b"), "", "")
    splits = carve(whole, DataSpec(function="m:f", train=6, validation=5))
    assert same(splits.train.inputs, at_many(FORMS["nested"], slice(0, 6)))  # pyright: ignore
    assert same(splits.validation.inputs, at_many(FORMS["nested"], slice(6, 11)))  # pyright: ignore
    assert splits.train.inputs["pair"][0].data_ptr() == IMAGES.data_ptr()  # pyright: ignore


def at_many(inputs: Any, index: slice) -> Any:
    return at(inputs, index)  # pyright: ignore[reportArgumentType]


def test_the_checksum_is_of_the_names_too_and_that_of_one_tensor_is_what_it_was() -> None:
    forms = [{"a": NUMBERS, "b": LENGTHS}, {"b": NUMBERS, "a": LENGTHS}, (NUMBERS, LENGTHS)]
    found = {content_checksum(Split(form, LABELS)) for form in forms}
    assert len(found) == 3
    digest = hashlib.sha256(b"torch.float32(11, 5)" + NUMBERS.numpy().tobytes())
    digest.update(b"torch.int64(11,)" + LABELS.numpy().tobytes())
    assert content_checksum(Split(NUMBERS, LABELS)) == f"sha256:{digest.hexdigest()}"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": NUMBERS, "n": LENGTHS[:9]}, r"inputs\['n'\]: .* N = 11 as targets have, got \(9,\)"),
        ((NUMBERS, IMAGES[:3]), r"inputs\[1\]: .* N = 11 .* got \(3, 3, 4\)"),
        ((NUMBERS, torch.tensor(3)), r"inputs\[1\]: .* got \(\)"),
        ((), "inputs: expected at least one tensor, got none"),
        ({}, "inputs: expected at least one tensor, got none"),
    ],
)
def test_a_split_refuses_inputs_that_do_not_fit(inputs: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Split(inputs, LABELS)


X = torch.zeros(3)
PAD = r"pad sequences to one length, torch.nn.utils.rnn.pad_sequence.*lengths"


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (((X, X), (X, X, X)), r"the same inputs in every item, got \[0\] .* at 0 and .*\[2\] .* 1"),
        (({"x": X}, {"y": X}), r"the same inputs .* \['x'\] .* at 0 and \['y'\]"),
        (({"x": X}, X), "the same inputs in every item"),
        (({"x": X}, {"x": X[:2]}), rf"\(3,\) .* at 0 and \(2,\) .* at 1 for \['x'\]; {PAD}"),
        ((X, X[:2]), rf"items of one shape .* \(3,\) .* \(2,\) .* at 1; {PAD}"),
        ((torch.zeros(3, 5), torch.zeros(4, 5)), PAD),
        ((torch.zeros(1, 3, 5), torch.zeros(1, 4, 5)), "resize them in the data set"),
        ((torch.zeros(3, 5), torch.zeros(3, 4)), "resize them in the data set"),
        ((X, ()), "item 1: expected at least one input, got an empty tuple or dict"),
        ((X, {1: X}), "item 1: expected inputs by the names of forward's parameters, got 1"),
        ((X, (X, "a word")), "item 1: input 1: expected a tensor, an array or a PIL image"),
        ((X, {"x": [1, 2]}), "item 1: 'x': expected a tensor, .* got list"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_bad_items_are_named(pair: Any, message: str, streamed: bool) -> None:
    items = [(pair[0], 0), (pair[1], 1)]

    def read() -> Any:
        if not streamed:
            return as_read(items)
        return list(StreamedSplit(items, torch.arange(2), 2).batches(torch.arange(2), 2))

    with pytest.raises(DataError, match=message):
        read()


def test_several_inputs_without_a_tuple_of_their_own_are_told_how() -> None:
    with pytest.raises(DataError, match=r"got tuple of length 3; .*\(\(a, b\), target\)"):
        as_read([(X, X, 0), (X, X, 1)])


def test_random_items_with_several_inputs_are_seen() -> None:
    class Noisy:
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, i: int) -> Any:
            return {"x": NUMBERS[i], "noise": torch.rand(2)}, int(LABELS[i])

    assert isinstance(as_read(Noisy(), in_memory="auto"), StreamedSplit)
    assert isinstance(as_read(items(FORMS["nested"]), in_memory="auto"), Split)
