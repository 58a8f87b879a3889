"""What is odd about splits: noted, or refused where it must be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from droplab.data import Split, Splits, StreamedSplit, channels_last, doubts
from droplab.errors import DataError


class Items:
    """Items of which some change from call to call."""

    def __init__(self, count: int, *, random: bool = False, nan: bool = False) -> None:
        self.count, self.random, self.nan = count, random, nan

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        noise = torch.rand(3).numpy() if self.random else np.zeros(3, np.float32)
        return (noise * np.nan if self.nan else noise), index % 2


def streamed(**options: Any) -> StreamedSplit:
    return StreamedSplit(Items(40, **options), torch.arange(40), 2)


def kept(*shape: int, label: int = 1) -> Split:
    return Split(torch.zeros(6, *shape), torch.tensor([0, 1, 0, 1, 0, label]))


def test_random_validation_items_are_said_and_random_training_items_are_not() -> None:
    state = torch.get_rng_state()
    found = doubts(Splits(streamed(random=True), streamed(), streamed(random=True)), 2)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("The test items differ when they are asked for twice")
    found = doubts(Splits(streamed(), streamed(random=True), None, notes=("before",)), 2)
    assert found.notes[0] == "before"
    assert found.notes[1].startswith("The validation items differ")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_number_that_is_none_equals_itself() -> None:
    assert doubts(Splits(streamed(), streamed(nan=True), None), 2).notes == ()


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((8, 32, 32, 3), True),
        ((8, 32, 32, 1), True),
        ((8, 32, 16, 4), True),
        ((8, 3, 32, 32), False),
        ((8, 1, 5, 3), False),
        ((8, 32, 32), False),
        ((8, 32, 2, 3), False),
        ((8, 64, 7, 7), False),
    ],
)
def test_channels_in_the_last_axis_are_said(shape: tuple[int, ...], last: bool) -> None:
    assert channels_last(torch.Size(shape)) is last
    notes = doubts(Splits(kept(*shape[1:]), kept(3), None), 2).notes
    assert len(notes) == last
    if last:
        assert f"read as {shape[1]} channels of {shape[2]} x {shape[3]}" in notes[0]
        assert "transpose(0, 3, 1, 2)" in notes[0]


@pytest.mark.parametrize("name", ["train", "validation", "test"])
@pytest.mark.parametrize("label", [-1, 2, 2**40])
def test_labels_that_the_model_has_no_output_for(name: str, label: int) -> None:
    parts = {each: kept(3, label=label if each == name else 1) for each in ("train", "validation")}
    test = kept(3, label=label if name == "test" else 1)
    with pytest.raises(DataError, match=rf"{name} labels: .* got {label} at example 5"):
        doubts(Splits(**parts, test=test), 2)


def test_streamed_labels_are_held_to_the_outputs_of_the_model() -> None:
    unknown = StreamedSplit(Items(4), torch.arange(4), 0)
    found = doubts(Splits(unknown, streamed(), None), 1)
    with pytest.raises(DataError, match="got 1; if the labels begin at 1, subtract 1"):
        list(found.train.batches(torch.arange(4), 4))


def quantities(values: torch.Tensor, count: int) -> Splits:
    parts = values[:count], values[count:]
    return Splits(*(Split(torch.zeros(len(part), 2), part) for part in parts), None)


def test_sorted_quantities_are_noted() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    assert not doubts(quantities(values, 300), 1).notes
    (note,) = doubts(quantities(values.sort().values, 300), 1).notes
    assert "further apart than chance" in note
    blocks = torch.cat((values[:320] - 1, values[320:] + 1))
    assert doubts(quantities(blocks, 300), 1).notes  # in part


def test_the_commonest_class_is_said_where_it_is_uneven() -> None:
    targets = torch.tensor([0] * 70 + [1] * 30)
    splits = Splits(*(Split(torch.zeros(100, 2), targets) for _ in range(2)), None)
    (note,) = doubts(splits, 2, ("no", "yes")).notes
    assert note.startswith("70.0 % of the validation examples are of class 'no'")
    even = Split(torch.zeros(100, 2), torch.tensor([0, 1] * 50))
    assert not doubts(Splits(even, even, None), 2, ("no", "yes")).notes
