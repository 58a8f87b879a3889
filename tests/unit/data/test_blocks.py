"""Blocks of validation examples: equal, of the data alone, and whole in groups and times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from droplab.data import Split, StreamedSplit, carve, load
from droplab.data._blocks import LEAST, Units, block_of_each, why_no_blocks
from droplab.data.dataset import Splits
from droplab.recipe import BLOCKS, DataSpec

counts = st.integers(LEAST, 300)


def sizes(blocks: np.ndarray) -> np.ndarray:
    return np.bincount(blocks, minlength=BLOCKS)


@given(counts, st.integers(1, 12), st.integers(0, 5))
def test_every_block_has_its_share_of_each_class_to_one_example(count, classes, seed):
    strata = np.random.default_rng(seed).integers(0, classes, count)
    blocks = block_of_each(count, strata=strata)
    for part in (sizes(blocks), *(sizes(blocks[strata == each]) for each in range(classes))):
        assert len(part) == BLOCKS
        assert part.max() - part.min() <= 1


@given(counts)
def test_without_classes_they_are_equal_and_mixed(count):
    blocks = block_of_each(count)
    assert sizes(blocks).max() - sizes(blocks).min() <= 1
    assert np.array_equal(blocks, block_of_each(count))
    assert (np.diff(blocks) < 0).any()  # no stretches: what stands in order is torn apart


@given(st.lists(st.integers(1, 40), min_size=BLOCKS, max_size=40), st.booleans())
def test_what_belongs_together_is_in_one_block(sizes_of_units, time):
    values = np.repeat(np.arange(len(sizes_of_units)), sizes_of_units)
    values = np.random.default_rng(len(values)).permutation(values)
    blocks = block_of_each(len(values), units=Units("time" if time else "groups", values))
    found = sizes(blocks)
    assert found.min() > 0
    for unit in range(len(sizes_of_units)):
        assert len(np.unique(blocks[values == unit])) == 1
    largest = max(sizes_of_units)
    if time:  # stretches, each as near to its share as whole times allow
        order = np.argsort(values, kind="stable")
        assert (np.diff(blocks[order]) >= 0).all()
    else:  # no block could give a group away and be better off
        assert found.max() - found.min() <= largest


def test_times_of_one_row_each_are_stretches_of_equal_length():
    days = np.datetime64("2026-03-01") + np.random.default_rng(0).permutation(83)
    blocks = block_of_each(83, units=Units("time", days))
    assert sizes(blocks).max() - sizes(blocks).min() <= 1
    assert (np.diff(blocks[np.argsort(days)]) >= 0).all()


@pytest.mark.parametrize("kind", ["groups", "time"])
def test_too_few_have_none_and_the_reason_is_said(kind):
    few = Units(kind, np.repeat(np.arange(BLOCKS - 1), 10))
    assert why_no_blocks(LEAST) == ""
    assert why_no_blocks(LEAST - 1).startswith("15 validation examples are too few for 8 blocks")
    what = "groups" if kind == "groups" else "times"
    assert f"are of 7 {what}, too few" in why_no_blocks(70, few)
    assert why_no_blocks(80, Units(kind, np.repeat(np.arange(BLOCKS), 10))) == ""


def test_a_split_is_stratified_where_its_targets_are_classes():
    splits = carve(load("digits"), DataSpec("digits", train=200, validation=403))
    targets = splits.validation.targets.numpy()
    for label in range(10):
        part = sizes(splits.blocks[targets == label])
        assert part.max() - part.min() <= 1
    assert sizes(splits.blocks).max() == 51


def test_streamed_examples_fall_into_the_same_blocks_without_their_classes():
    items = [(torch.tensor([float(i)]), i % 2) for i in range(40)]
    streamed = StreamedSplit(items, torch.arange(40), classes=2)
    values = Split(torch.zeros(40, 1), torch.zeros(40))
    blocks = Splits(streamed, streamed, None).blocks
    assert np.array_equal(blocks, Splits(values, values, None).blocks)


@pytest.mark.parametrize("validation", [0.3, "test"])
@pytest.mark.parametrize("role", ["groups", "time"])
def test_a_table_keeps_together_what_its_rows_were_drawn_by(tmp_path, role, validation):
    rng = np.random.default_rng(1)
    unit = rng.integers(0, 40, 400)
    lines = [f"{x},{u},{x + u}" for x, u in zip(rng.random(400), unit, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["x,unit,y", *lines]))
    arguments = {"target": "y", "columns": ("x", "unit"), role: "unit", "test": 0.3}
    spec = DataSpec(path=str(tmp_path / "a.csv"), validation=validation, arguments=arguments)
    drawn = load(spec).drawn
    assert drawn is not None
    assert drawn.units is not None
    assert drawn.units.kind == role
    # the column is an input, too, so that the rows can be told apart here
    order = np.argsort(drawn.validation.inputs[:, 1].numpy(), kind="stable")
    values, blocks = drawn.units.values[order], drawn.blocks[order]
    assert (np.diff(values) >= 0).all()
    assert all(len(np.unique(blocks[values == each])) == 1 for each in np.unique(values))
    if role == "time":
        assert (np.diff(blocks) >= 0).all()


def test_groups_stay_whole_within_the_rows_of_each_fold(tmp_path):
    rng = np.random.default_rng(1)
    unit = rng.integers(0, 60, 300)
    lines = [f"{x},{u},{x + u}" for x, u in zip(rng.random(300), unit, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["x,unit,y", *lines]))
    arguments = {"target": "y", "columns": ("x", "unit"), "groups": "unit"}
    drawn = load(DataSpec(path=str(tmp_path / "a.csv"), folds=3, arguments=arguments)).drawn
    assert drawn is not None
    assert drawn.of_seed is not None
    first = drawn.of_seed(0)
    assert drawn.units is not None
    assert first.units is not None
    assert np.array_equal(drawn.units.values, first.units.values)
    for seed in range(6):
        own = drawn.of_seed(seed)
        assert own.units is not None
        assert len(own.blocks) == len(own.validation)
        for each in np.unique(own.units.values):
            assert len(np.unique(own.blocks[own.units.values == each])) == 1
