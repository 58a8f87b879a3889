"""Splits of arrays and folders that are drawn by class, by group or by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data import DataSet, Split, StreamedSplit, carve, load
from droplab.data._blocks import Units
from droplab.errors import DataError, RecipeError
from droplab.recipe import DataSpec, dumps, loads, override
from droplab.recipe import load as load_recipe

quick = settings(max_examples=60, deadline=None)


def dataset(targets, units=None, **more) -> DataSet:
    targets = torch.as_tensor(targets)
    inputs = torch.arange(float(len(targets)))[:, None]
    return DataSet("some", Split(inputs, targets), None, (), "here", "", units=units, **more)


def drawn(data: DataSet, spec: DataSpec) -> tuple[list[int], list[int]]:
    """The numbers of the examples of both splits."""
    splits = carve(data, spec)
    return splits.train.inputs[:, 0].int().tolist(), splits.validation.inputs[:, 0].int().tolist()


def by(role, values, **more) -> DataSpec:
    return DataSpec(path="some.npz", arguments={role: "them"}, **more)


@quick
@given(st.lists(st.integers(0, 4), min_size=10, max_size=80), st.floats(0.1, 0.6))
def test_each_class_has_its_share(targets, part):
    spec = DataSpec(name="some", validation=part, stratify=True)
    train, validation = drawn(dataset(sorted(targets)), spec)
    assert sorted(train + validation) == list(range(len(targets)))
    counts = np.bincount(sorted(targets), minlength=5)
    got = np.bincount(np.array(sorted(targets))[validation], minlength=5)
    expected = counts * len(validation) / len(targets)
    assert (np.abs(got - expected) < 1.01).all()


@quick
@given(st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=60), st.integers(1, 4))
def test_no_group_is_torn_apart(names, count):
    if len(set(names)) < 3 or count >= len(names) - max(map(names.count, set(names))):
        return
    groups = np.array(names)
    data = dataset(np.zeros(len(names), dtype=np.int64), Units("groups", groups, "them"))
    train, validation = drawn(data, by("groups", groups, validation=count))
    assert sorted(train + validation) == list(range(len(names)))
    assert not set(groups[train]) & set(groups[validation])
    assert len(validation) >= count


@quick
@given(st.lists(st.integers(0, 30), min_size=12, max_size=60, unique=True), st.integers(1, 6))
def test_the_latest_are_validated_on(times, count):
    data = dataset(np.zeros(len(times), dtype=np.int64), Units("time", np.array(times), "them"))
    train, validation = drawn(data, by("time", times, validation=count))
    assert len(validation) == count
    assert max(times[i] for i in train) < min(times[i] for i in validation)


def test_sorted_classes_need_no_shuffling_and_a_fifth_is_usual():
    data = dataset([0] * 40 + [1] * 10)
    with pytest.raises(DataError, match="the labels are sorted"):
        carve(data, DataSpec(name="some", validation=10))
    splits = carve(data, DataSpec(name="some", stratify=True))
    assert [part.targets.bincount().tolist() for part in (splits.train, splits.validation)] == [
        [32, 8],
        [8, 2],
    ]
    assert "40 examples to train on and 10 to validate on, drawn at random" in splits.notes[0]
    few = carve(data, DataSpec(name="some", train=20, stratify=True))
    assert few.train.targets.bincount().tolist() == [16, 4]
    assert torch.equal(few.validation.inputs, splits.validation.inputs)  # and the same every time


def test_a_part_to_train_on_beside_the_test_split_is_drawn_too():
    test = Split(torch.zeros(5, 1), torch.arange(5) % 2)
    data = DataSet("some", dataset([0] * 40 + [1] * 10).train, test, (), "here", "")
    splits = carve(data, DataSpec(name="some", train=10, validation="test", stratify=True))
    assert splits.train.targets.bincount().tolist() == [8, 2]
    assert splits.validation is test
    assert splits.test is None
    kept = carve(data, DataSpec(name="some", validation=10, stratify=True))
    assert kept.test is test


def write(folder: Path, **more) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(60, 3)).astype(np.float32), "y": np.arange(60) % 3}
    np.savez(folder / "a.npz", **{**arrays, **more})
    return folder / "a.npz"


def test_an_array_of_the_file_names_the_groups(tmp_path):
    subject = np.repeat(["ann", "bob", "cyd", "dan", "eve", "fay"], 10)
    path = write(tmp_path, subject=subject)
    spec = DataSpec(path=str(path), arguments={"groups": "subject"}, validation=0.3)
    data = load(spec)
    splits = carve(data, spec)
    whole = data.train.inputs
    places = [
        [int((whole == row).all(1).nonzero()[0]) for row in part.inputs]
        for part in (splits.train, splits.validation)
    ]
    assert not set(subject[places[0]]) & set(subject[places[1]])
    assert "drawn at random, each subject whole" in splits.notes[0]
    other = write(tmp_path, subject=np.roll(subject, 5))
    assert load(DataSpec(path=str(other), arguments={"groups": "subject"})).checksum != (
        data.checksum
    )
    folds = DataSpec(path=str(path), arguments={"groups": "subject"}, folds=3)
    for seed in range(3):
        part = carve(load(folds), folds).of_seed(seed).validation
        assert len(part) == 20


def test_an_array_of_dates_and_files_of_a_folder(tmp_path):
    days = np.array([f"2026-03-{day:02}" for day in np.arange(60) % 30 + 1])
    for name, array in {"x": np.zeros((60, 2)), "y": np.arange(60) % 2, "day": days}.items():
        np.save(tmp_path / f"{name}.npy", array)
    options = {"arguments": {"time": "day.npy"}, "validation": 4}
    for in_memory in (True, False):
        spec = DataSpec(path=str(tmp_path), in_memory=in_memory, **options)
        splits = carve(load(spec), spec)
        assert len(splits.validation) == 4  # the 29th and the 30th
        assert isinstance(splits.validation, Split if in_memory else StreamedSplit)
        if isinstance(splits.validation, StreamedSplit):
            assert sorted(splits.validation.indices.tolist()) == [28, 29, 58, 59]


def test_a_recipe_keeps_it():
    recipe = override(load_recipe("digits"), {"data.stratify": True, "data.validation": 0.25})
    assert recipe.data.stratify
    assert loads(dumps(recipe)) == recipe
    assert "each class in its share" in recipe.data.sentence
    off = override(load_recipe("digits"), {"data.stratify": False})
    assert off.digest == load_recipe("digits").digest != recipe.digest
    spec = DataSpec(path="a.npz", arguments={"groups": "subject"}, validation=9)
    assert spec.sentence.startswith("a.npz: validated on 9 of the training examples, drawn: each")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stratify": "yes"}, "stratify: expected true or false, got 'yes'"),
        ({"stratify": True, "folds": 3}, "expected no stratify with folds"),
        ({"stratify": True, "arguments": {"target": "y"}}, "expected no stratify with a table"),
        ({"stratify": True, "validation": "test"}, "expected stratify with examples to draw"),
        (
            {"stratify": True, "arguments": {"groups": "a"}},
            "expected one way to draw examples at most, got groups and stratify",
        ),
        ({"arguments": {"groups": "a", "time": "b"}}, "got groups and time; keep one"),
    ],
)
def test_bad_recipes(options, message):
    with pytest.raises(RecipeError, match=message):
        DataSpec(path="a.npz", **options)


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        ({"who": np.arange(59)}, {"groups": "who"}, r"a.npz: who: expected one of data.groups for"),
        ({"who": np.zeros((60, 2))}, {"groups": "who"}, r"shape \(60,\), got shape \(60, 2\)"),
        ({"who": np.arange(60)}, {"groups": "whom"}, "no 'whom' for data.groups; did you mean"),
        ({"who": np.zeros(60)}, {"groups": "who"}, "data: 1 groups leave none to train on"),
        ({"day": np.array(["soon"] * 60)}, {"time": "day"}, "expected numbers or dates .* 'soon'"),
        (
            {"day": np.array([1.0, np.nan] * 30)},
            {"time": "day"},
            "expected one of data.time for every example, got none for example 1",
        ),
        ({}, {"group": "who"}, "data.arguments.group: unknown key; did you mean 'groups'"),
    ],
)
def test_bad_units(tmp_path, arrays, arguments, message):
    spec = DataSpec(path=str(write(tmp_path, **arrays)), arguments=arguments, validation=10)
    with pytest.raises(DataError, match=message):
        carve(load(spec), spec)


def test_classes_that_are_not_there():
    numbers = dataset(torch.rand(20))
    spec = DataSpec(name="some", stratify=True)
    with pytest.raises(DataError, match=r"data.stratify: expected classes"):
        carve(numbers, spec)
    items = [(torch.zeros(1), i % 2) for i in range(9)]
    streamed = DataSet("some", StreamedSplit(items, torch.arange(9), 2), None, (), "here", "")
    with pytest.raises(DataError, match="expected examples in memory, whose classes are known"):
        carve(streamed, spec)
    split = Split(torch.zeros(4, 1), torch.arange(4) % 2)
    with pytest.raises(DataError, match="has a validation split of its own, so none is drawn"):
        carve(dataset([0, 1] * 9, validation=split), spec)
    with pytest.raises(DataError, match="fewer than the 18 asked"):
        carve(dataset([0, 1] * 9), DataSpec(name="some", train=18, stratify=True))
