"""Folds: drawn once a repeat, in their shares, by group; fitted on each seed's training rows."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from droplab.data import DataSet, Split, Splits, StreamedSplit, carve, load
from droplab.data._draw import fold_rows
from droplab.data._folds import folds_of
from droplab.errors import DataError
from droplab.recipe import DataSpec


@given(
    count=st.integers(2, 60),
    folds=st.integers(2, 12),
    repeat=st.integers(0, 3),
    classes=st.none() | st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_every_row_is_in_one_fold_and_folds_are_alike(count, folds, repeat, classes):
    strata = None if classes is None else np.array(classes[:count])
    if folds > count:
        with pytest.raises(DataError, match="at most as many folds as there are rows"):
            fold_rows(count, folds, repeat=repeat, strata=strata)
        return
    found = fold_rows(count, folds, repeat=repeat, strata=strata)
    again = fold_rows(count, folds, repeat=repeat, strata=strata)
    assert np.array_equal(found, again)
    sizes = np.bincount(found, minlength=folds)
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 1
    for label in () if strata is None else np.unique(strata):
        shares = np.bincount(found[strata == label], minlength=folds)
        assert shares.max() - shares.min() <= 1


@given(st.lists(st.integers(0, 9), min_size=4, max_size=50), st.integers(2, 4))
def test_a_group_is_in_one_fold(groups, folds):
    different = len(set(groups))
    if different < folds:
        with pytest.raises(DataError, match=f"there are groups, {different}, got {folds}"):
            fold_rows(len(groups), folds, groups=np.array(groups))
        return
    found = fold_rows(len(groups), folds, groups=np.array(groups))
    assert set(found.tolist()) == set(range(folds))
    of_group = {(group, fold) for group, fold in zip(groups, found.tolist(), strict=True)}
    assert len(of_group) == different


def test_a_repeat_has_folds_of_its_own():
    """Two repeats of 40 rows in 4 folds agree on a quarter of the rows, by chance."""
    folds = [fold_rows(40, 4, repeat=repeat) for repeat in range(30)]
    together = np.mean([np.mean(a == b) for a, b in itertools.pairwise(folds)])
    assert 0.18 < together < 0.32
    by_group = {tuple(fold_rows(30, 3, repeat=r, groups=np.arange(30) // 3)) for r in range(9)}
    assert len(by_group) == 9


def whole(rows: int = 23) -> Split:
    return Split(torch.arange(rows * 2.0).view(rows, 2), torch.arange(rows) % 2)


def test_a_seed_has_its_rows_in_their_order():
    folds = folds_of(whole(), 5)
    for repeat in range(2):
        of = fold_rows(23, 5, repeat=repeat, strata=whole().targets.numpy())
        for fold in range(5):
            splits = folds(5 * repeat + fold)
            rows = torch.from_numpy(of)
            assert torch.equal(splits.train.inputs, whole().inputs[rows != fold])
            assert torch.equal(splits.validation.targets, whole().targets[rows == fold])
    assert splits.validated_on == "train"
    assert "23 examples in 5 folds of 4 or 5, each class in its share" in splits.notes[0]


def test_they_can_be_sent_to_a_worker():
    folds = pickle.loads(pickle.dumps(folds_of(whole(), 5)))
    assert torch.equal(folds(7).train.inputs, folds_of(whole(), 5)(7).train.inputs)
    assert folds(7).of_seed is folds


def test_named_data_is_divided_as_far_as_it_is_trained_on():
    spec = DataSpec("digits", train=120, folds=4)
    splits = carve(load(spec), spec)
    assert splits.of_seed is not None
    parts = [splits.of_seed(seed) for seed in range(4)]
    assert [len(part.validation) for part in parts] == [30] * 4
    inputs = torch.cat([part.validation.inputs for part in parts]).flatten(1).tolist()
    first = load(spec).train.inputs[:120].flatten(1).tolist()
    assert Counter(map(tuple, inputs)) == Counter(map(tuple, first))
    assert all(part.test is load_test(splits) for part in parts)


def load_test(splits: Splits):
    assert len(splits.test) == 500
    return splits.test


def test_streamed_data_is_refused_in_a_sentence():
    items = [(torch.zeros(3), i % 2) for i in range(20)]
    streamed = StreamedSplit(items, torch.arange(20), 2)
    with pytest.raises(DataError, match=r"data\.folds: expected examples in memory.* is streamed"):
        carve(DataSet("mine", streamed, None, (), "", ""), DataSpec(function="a:b", folds=5))


def test_an_unused_validation_split_is_said():
    found = carve(DataSet("mine", whole(), None, (), "", "", whole(6)), DataSpec("x", folds=5))
    assert "own validation split (6 examples) is not used: data.folds = 5" in found.notes[0]


ROWS = 60


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": np.where(np.arange(ROWS) == 7, np.nan, rng.normal(40, 9, ROWS)),
            "city": ["Kyiv" if i == 3 else ("Lima", "Oslo")[i % 2] for i in range(ROWS)],
            "shop": [f"s{i % 12}" for i in range(ROWS)],
            "grade": [("good", "bad", "fair")[i % 3] for i in range(ROWS)],
            "price": rng.normal(size=ROWS).round(3),
        }
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def of_table(path: Path, folds: int, task: str | None = None, **arguments) -> DataSet:
    return load(DataSpec(path=str(path), folds=folds, arguments=arguments), task=task)


def test_a_table_is_fitted_on_the_training_rows_of_each_seed(people):
    """By hand: mean and spread of the training rows; a name only validated on is 0."""
    found = of_table(people, 6, target="price", columns=("age", "city"))
    assert found.columns is not None
    assert found.columns.numeric == ("age", "age is missing")
    assert dict(found.columns.categories) == {"city": 3}
    assert found.drawn is not None
    assert found.drawn.test is None
    frame, alone = pd.read_csv(people), 0
    levels = {"Kyiv": 1.0, "Lima": 2.0, "Oslo": 3.0}
    for seed in range(12):
        of = fold_rows(ROWS, 6, repeat=seed // 6)
        train, validation = frame[of != seed % 6], frame[of == seed % 6]
        splits = found.drawn.of_seed(seed)
        for split, rows in ((splits.train, train), (splits.validation, validation)):
            age = (rows["age"] - train["age"].mean()) / train["age"].std(ddof=0)
            known = rows["city"].isin(train["city"])
            columns = [
                age.fillna(0.0),
                rows["age"].isna().astype(float),
                rows["city"].map(levels).where(known, 0.0),
            ]
            expected = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)
            torch.testing.assert_close(split.inputs, expected)
            assert torch.equal(split.targets, torch.tensor(rows["price"].to_numpy()).float())
        alone += bool((splits.validation.inputs[:, 2] == 0).any())
    assert alone == 2  # Kyiv is in one row, so in one fold of each repeat


def test_groups_and_a_test_split_of_a_table(people):
    found = of_table(people, 4, target="grade", ignore=("price",), groups="shop", test=0.2)
    assert found.drawn is not None
    kept = len(found.drawn.test)
    assert 12 <= kept < 20
    told = found.notes[-1]
    assert f"{ROWS - kept} examples in 4 folds of about {(ROWS - kept) // 4}, each shop" in told
    assert f"{kept} more are for the test" in told
    first, second = (found.drawn.of_seed(seed) for seed in (0, 1))
    assert torch.equal(first.test.targets, second.test.targets)
    with pytest.raises(DataError, match=r"as there are groups, \d+, got 13"):
        of_table(people, 13, target="grade", ignore=("price",), groups="shop")


def test_classes_of_a_table_are_in_every_fold_in_their_share(people):
    found = of_table(people, 5, target="grade", ignore=("price",))
    assert found.classes == ("bad", "fair", "good")
    for seed in range(5):
        assert found.drawn.of_seed(seed).validation.targets.bincount().tolist() == [4, 4, 4]
