"""Training and validation rows that are drawn anew with each seed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data import DataSet, Split, carve, load
from droplab.data._folds import Resampled, resampled_of
from droplab.data.streamed import StreamedSplit
from droplab.errors import DataError
from droplab.recipe import DataSpec


def whole(rows: int) -> Split:
    return Split(torch.arange(rows * 2.0).view(rows, 2), torch.arange(rows) % 3)


def parts(train, validation):
    return train, validation, None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(4, 60),
    st.integers(1, 3),
    st.none() | st.integers(1, 20),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_no_row_is_drawn_twice(size, tenths, train, seed, by_class):
    validation = max(1, size * tenths // 10)
    if train is not None and train + validation > size:
        train = None
    strata = np.arange(size) % 2 if by_class else None
    found = Resampled(size, train, validation, parts, strata)
    first, second = found.rows(seed)
    assert len(second) == validation
    assert len(first) == (size - validation if train is None else train)
    assert len({*first.tolist(), *second.tolist()}) == len(first) + len(second)
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()
    again = found.rows(seed)
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])
    if by_class:  # each class in its share, to one row
        assert abs(np.bincount(strata[second], minlength=2) - validation / 2).max() <= 1


def test_every_row_comes_up_and_seeds_draw_by_themselves():
    """400 seeds, a fifth to validate on: each of 50 rows 80 times, within 5 deviations of 8."""
    found = Resampled(50, None, 10, parts)
    counts = np.zeros(50)
    for seed in range(400):
        counts[found.rows(seed)[1]] += 1
    assert np.abs(counts - 80).max() < 40
    assert counts.std() > 3


def test_a_group_stays_whole():
    groups = np.arange(40) // 4
    for seed in range(20):
        train, validation = Resampled(40, None, 9, parts, None, groups).rows(seed)
        assert not set(groups[train]) & set(groups[validation])
        assert len(validation) == 12  # the first whole groups with so many rows


def test_examples_are_cut_by_class_and_the_test_stays():
    test = whole(5)
    found = resampled_of(whole(30), 12, 6, test, ["told before"])
    splits = found(7)
    assert splits.train.targets.bincount().tolist() == [4, 4, 4]
    assert splits.validation.targets.bincount().tolist() == [2, 2, 2]
    assert splits.test is test
    assert (splits.validated_on, splits.of_seed) == ("train", found)
    assert splits.notes == (
        "told before",
        "With each seed 6 of 30 examples are drawn to validate on and 12 of the others to train "
        "on, the same ones for all arms, each class in its share.",
    )
    assert not torch.equal(splits.validation.inputs, found(8).validation.inputs)
    sent = pickle.loads(pickle.dumps(found))
    assert torch.equal(sent(7).train.inputs, splits.train.inputs)


def test_named_data_is_drawn_from_all_its_training_examples():
    spec = DataSpec("digits", train=300, validation=200, resample=True)
    splits = carve(load(spec), spec)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (300, 200, 500)
    beyond = {tuple(row) for row in load(spec).train.inputs[500:].flatten(1).tolist()}
    assert {tuple(row) for row in splits.train.inputs.flatten(1).tolist()} & beyond


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 9, 60),
            "shop": [f"s{i % 12}" for i in range(60)],
            "grade": [("good", "bad", "fair")[i % 3] for i in range(60)],
        }
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def of_table(path: Path, **given) -> DataSet:
    own = {key: given.pop(key) for key in ("train", "validation") if key in given}
    return load(DataSpec(path=str(path), resample=True, arguments=given, **own))


def test_a_table_is_fitted_on_the_rows_of_each_seed(people):
    found = of_table(people, target="grade", columns=("age",), test=10)
    ages = pd.read_csv(people)["age"].astype(np.float32).tolist()
    tests = set()
    for seed in range(4):
        splits = found.drawn.of_seed(seed)
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (38, 12, 10)
        assert splits.train.inputs.mean().item() == pytest.approx(0, abs=1e-5)
        tests.add(tuple(splits.test.targets.tolist()))
    assert len(tests) == 1
    assert len(ages) == 60
    assert "With each seed 12 of 50 examples" in found.notes[-1]
    assert "10 more are for the test" in found.notes[-1]


def test_groups_of_a_table_stay_whole(people):
    found = of_table(people, target="grade", groups="shop", validation=12, test=10)
    sizes = {len(found.drawn.of_seed(seed).validation) for seed in range(5)}
    assert sizes == {15}
    assert "about 12 of 50 examples" in found.notes[-1]
    assert "each shop whole" in found.notes[-1]


def test_what_cannot_be_drawn_is_refused(people):
    items = [(torch.zeros(3), i % 2) for i in range(20)]
    streamed = StreamedSplit(items, torch.arange(20), 2)
    spec = DataSpec(function="a:b", validation=5, resample=True)
    with pytest.raises(DataError, match=r"data\.resample: expected examples in memory"):
        carve(DataSet("mine", streamed, None, (), "", ""), spec)
    spec = DataSpec("x", train=20, validation=20, resample=True)
    with pytest.raises(DataError, match="fewer than 20 to train on and 20 to validate on"):
        carve(DataSet("mine", whole(30), None, (), "", ""), spec)
    with pytest.raises(DataError, match=r"data\.train: 40 examples are left with seed 0"):
        of_table(people, target="grade", train=45, validation=10, test=10)
    own = DataSet("mine", whole(30), None, (), "", "", whole(6))
    found = carve(own, DataSpec("x", validation=5, resample=True))
    assert "(6 examples) is not used: data.resample = true" in found.notes[0]
