"""Blocks of validation examples in a run: of every executor, resumed, and where there are none."""

from __future__ import annotations

import dataclasses
import functools
import json
import tomllib

import numpy as np
import pandas as pd
import pytest
import tomli_w

from droplab import results
from droplab.errors import RunError
from droplab.recipe import BLOCKS, Arm, dumps, load, loads, override, stopped_epoch
from droplab.studies import _session, resolve, run
from droplab.train import ExecutionPlan
from tests.unit.studies.people import Stop, people_recipe, write_people

SEEDS = (0, 1)
SMALL = dataclasses.replace(
    override(load("digits"), {"epochs": 3, "seeds": list(SEEDS), "data.train": 200}),
    arms=(Arm("none"), Arm("half", {"fc2": 0.5})),
)
ALONE = ExecutionPlan(1)


def check_means(result) -> None:
    """The weighted mean over the blocks, and over the examples, is the metric of the row."""
    primary = result.recipe.primary
    rows = {(row.arm, row.seed, row.epoch): row.values[primary] for row in result.rows}
    assert len(result.blocks) == len(rows)
    for block in result.blocks:
        assert len(block.values) == len(block.weights) == BLOCKS
        mean = np.average(block.values, weights=block.weights)
        assert mean == pytest.approx(rows[block.arm, block.seed, block.epoch], rel=1e-9)
    last = result.recipe.epochs
    for row in result.examples:
        assert row.values.dtype == row.weights.dtype == np.float32
        mean = np.average(row.values.astype(np.float64), weights=row.weights)
        assert mean == pytest.approx(rows[row.arm, row.seed, last], rel=1e-6)


def check_answers(result) -> None:
    """The counts of answers add up to the accuracy and the calibration error of the last row."""
    rows = {(row.arm, row.seed, row.epoch): row for row in result.rows}
    assert [(row.arm, row.seed) for row in result.answers] == [
        (m.arm, m.seed) for m in result.members
    ]
    counts = json.loads(result.notes["data"])["validation_counts"]
    for row in result.answers:
        last = rows[row.arm, row.seed, result.recipe.epochs]
        assert len(row.bins) == 15
        assert [n for n, _ in row.classes] == counts
        right = sum(right for *_, right in row.bins)
        assert right == sum(right for _, right in row.classes)
        assert right / sum(counts) == last.val_accuracy
        error = sum(abs(confidence - right) for _, confidence, right in row.bins) / sum(counts)
        assert error == pytest.approx(last.val_ece, rel=1e-12)
        for place, (n, confidence, right) in enumerate(row.bins):
            assert right <= n
            assert place * n / 15 <= confidence <= (place + 1) * n / 15 + 1e-9


@pytest.mark.parametrize("primary", ["val_loss", "val_accuracy"])
def test_a_mean_over_examples_is_that_of_its_blocks_and_of_its_examples(tmp_path, primary):
    recipe = override(SMALL, {"primary": primary})
    result = run(recipe, tmp_path, plan=ALONE)
    check_means(result)
    check_answers(result)
    assert [(row.arm, row.seed) for row in result.examples] == [
        (m.arm, m.seed) for m in result.members
    ]
    blocks = resolve(recipe).splits.blocks
    sizes = tuple(np.bincount(blocks).astype(float).tolist())
    assert {row.weights for row in result.blocks} == {sizes}  # the same for all arms and seeds
    for row in result.examples:
        (own,) = (b for b in result.blocks if (b.arm, b.seed, b.epoch) == (row.arm, row.seed, 3))
        of_examples = [row.values[blocks == each].mean(dtype=np.float64) for each in range(BLOCKS)]
        assert of_examples == pytest.approx(own.values, rel=1e-6)


def test_every_executor_gives_the_same_rows(tmp_path):
    plans = {
        "alone": ALONE,
        "recorded": ExecutionPlan(1, captured=True),
        "compiled": ExecutionPlan(1, captured=True, compiled=True),
        "together": ExecutionPlan(1, captured=True, group=4),
        "workers": ExecutionPlan(1, group=2, workers=2),
    }
    found = {name: run(SMALL, tmp_path / name, plan=plan) for name, plan in plans.items()}
    first = found["alone"]
    for name, result in found.items():
        check_means(result)
        for one, other in zip(first.blocks, result.blocks, strict=True):
            assert (one.arm, one.seed, one.epoch) == (other.arm, other.seed, other.epoch), name
            assert one.values == pytest.approx(other.values, rel=1e-3), name
        for one, other in zip(first.examples, result.examples, strict=True):
            assert (one.arm, one.seed) == (other.arm, other.seed)
            assert np.allclose(one.values, other.values, rtol=1e-2, atol=1e-4), name
    assert found["recorded"].blocks == first.blocks


@pytest.mark.parametrize(("group", "rows"), [(1, 10), (4, 16)])
def test_a_resumed_run_has_the_same_rows_and_the_same_stopped_weights(
    tmp_path, monkeypatch, group, rows
):
    monkeypatch.setattr(_session, "_KEEP_HERE", 0.0)
    plan = ExecutionPlan(1, group=group)
    changes = {"epochs": 6, "optimizer.lr": 0.3, "stopping.patience": 1}
    recipe = override(SMALL, changes)
    whole = run(recipe, tmp_path / "whole", plan=plan)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "cut", plan=plan, observer=Stop(rows))
    assert 0 < len(results.load(tmp_path / "cut").blocks) < len(whole.blocks)
    result = run(recipe, tmp_path / "cut", resume=True)
    assert result.blocks == whole.blocks
    assert result.stopped_tests == whole.stopped_tests
    # it was cut in epoch 4 of this one, and the epochs after it are better
    (cut,) = (t for t in result.stopped_tests if (t.arm, t.seed) == ("half", 0))
    assert cut.epoch == 3
    for one, other in zip(whole.examples, result.examples, strict=True):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.weights, other.weights)
    best = sorted((tmp_path / "whole" / "weights").glob("*-best.safetensors"))
    assert len(best) == 4
    for path in best:
        assert path.read_bytes() == (tmp_path / "cut" / "weights" / path.name).read_bytes()


@pytest.mark.parametrize("patience", [0, 1])
def test_the_test_split_is_seen_at_the_stopped_epoch_too(tmp_path, patience):
    recipe = override(SMALL, {"epochs": 8, "optimizer.lr": 0.03, "stopping.patience": patience})
    result = run(recipe, tmp_path, plan=ExecutionPlan(1, group=4))

    @functools.cache
    def shorter(epoch, seed):
        short = override(recipe, {"epochs": epoch, "seeds": [seed]})
        return run(short, tmp_path / f"{epoch}-{seed}", plan=ALONE)

    assert [(t.arm, t.seed) for t in result.stopped_tests] == [
        (t.arm, t.seed) for t in result.tests
    ]
    epochs = set()
    for row, last in zip(result.stopped_tests, result.tests, strict=True):
        losses = [r.val_loss for r in result.rows if (r.arm, r.seed) == (row.arm, row.seed)]
        assert row.epoch == stopped_epoch(losses, higher_is_better=False, patience=patience)
        epochs.add(row.epoch)
        # trained so far only, a replica is at its last epoch where this one was stopped
        if row.epoch == recipe.epochs:
            assert row.values == last.values
        else:
            again = shorter(row.epoch, row.seed)
            (other,) = (t for t in again.tests if (t.arm, t.seed) == (row.arm, row.seed))
            assert row.values == pytest.approx(other.values, rel=1e-4)
            assert row.values != last.values
    assert min(epochs) < recipe.epochs


def test_blocks_do_not_depend_on_the_seed():
    experiment = resolve(SMALL)
    blocks = experiment.splits.blocks
    for seed in SEEDS:
        assert np.array_equal(experiment.of_seeds([seed]).splits.blocks, blocks)
    others = resolve(override(SMALL, {"seeds": [5, 6]})).splits.blocks
    assert np.array_equal(others, blocks)


def test_with_folds_the_rows_of_each_fold_have_blocks_of_their_own(tmp_path):
    recipe = override(SMALL, {"data.folds": 3, "data.train": 150, "epochs": 2})
    result = run(recipe, tmp_path, plan=ALONE)
    check_means(result)
    sizes = {row.seed: sum(row.weights) for row in result.blocks}
    assert sizes == {0: 50.0, 1: 50.0, 2: 50.0}


@pytest.mark.parametrize("changes", [{"primary": "train_loss"}, {"primary": "gap"}])
def test_a_metric_of_training_examples_has_no_blocks(tmp_path, changes):
    result = run(override(SMALL, changes), tmp_path, plan=ALONE)
    assert (result.blocks, result.examples, result.stopped_tests) == ((), (), ())
    assert len(result.tests) == 4


@pytest.mark.parametrize(
    "changes", [{"data.validation": 15}, {"data.folds": 13, "data.stop_on_fold": False}]
)
def test_too_few_examples_have_no_blocks_and_it_is_said(tmp_path, changes):
    experiment = resolve(override(SMALL, {"epochs": 1, **changes}))
    said = [note for note in experiment.splits.notes if "early stopping" in note]
    assert said == [
        "15 validation examples are too few for 8 blocks of two, so no word is said on early "
        "stopping."
    ]
    result = run(experiment, tmp_path, plan=ALONE)
    assert (result.blocks, result.examples, result.stopped_tests) == ((), (), ())
    assert "blocks" not in json.loads(result.notes["data"])


def test_rows_of_another_machine_are_refused(tmp_path):
    result = run(SMALL, tmp_path, plan=ALONE)
    block, example = result.blocks[0], result.examples[0]
    with results.RunStore.open_for_resume(tmp_path) as store:
        again = dataclasses.replace(block, values=(0.5, *block.values[1:]))
        with pytest.raises(RunError, match=r"seed 0, epoch 1, blocks: .* has value_1 = 0\.5"):
            store.commit_epochs([], parts=[again])
        other = dataclasses.replace(example, values=example.values + 1)
        with pytest.raises(RunError, match="seed 0: the resumed run has other values of valid"):
            store.commit_epochs([], parts=[other])
        store.commit_epochs([], parts=[block, example])


STREAMED = """
import torch

class Items:
    def __len__(self):
        return 96

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(64, generator=generator), index % 10

def splits():
    return {"train": Items(), "validation": Items(), "test": Items()}
"""


def test_streamed_examples_have_blocks(tmp_path, monkeypatch):
    (tmp_path / "items_of_blocks.py").write_text(STREAMED)
    monkeypatch.syspath_prepend(tmp_path)
    document = tomllib.loads(dumps(SMALL))
    document["data"] = {"function": "items_of_blocks:splits", "in_memory": False}
    result = run(loads(tomli_w.dumps(document)), tmp_path / "run", plan=ALONE)
    check_means(result)
    assert {row.weights for row in result.blocks} == {(12.0,) * BLOCKS}
    assert len(result.stopped_tests) == 4


@pytest.mark.parametrize(
    ("target", "primary", "changes", "mean"),
    [
        ("price", "val_loss", {}, True),
        ("price", "val_mae", {}, True),
        ("price", "val_rmse", {}, False),
        ("price", "val_r2", {}, False),
        ("price", "val_loss", {"data.weights": "age"}, True),
        ("grade", "val_loss", {"loss.weight": "balanced", "loss.name": "cross_entropy"}, True),
        ("grade", "val_accuracy", {"data.weights": "age"}, True),
        ("grade", "val_ece", {}, False),
        ("grade", "val_auroc", {"task": "binary"}, False),
        ("grade", "val_accuracy", {"task": "binary"}, True),
        ("grade", "val_balanced_accuracy", {"also_measure": ["balanced_accuracy"]}, False),
    ],
)
def test_every_metric_of_a_table_is_kept_on_blocks(
    tmp_path, monkeypatch, target, primary, changes, mean
):
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path)
    if "data.weights" in changes:
        table = pd.read_csv("people.csv")
        table.assign(age=1 + table.index % 3).to_csv("people.csv", index=False)
    task = {"price": "regression", "grade": "classification"}[target]
    recipe = people_recipe(target, **{"task": task, "primary": primary, "epochs": 2} | changes)
    result = run(recipe, tmp_path / "run", plan=ExecutionPlan(1, group=4))
    assert len(result.blocks) == len(result.rows) == 8
    assert (len(result.examples) == 4) == mean
    if mean:
        check_means(result)
    else:
        assert {sum(row.weights) for row in result.blocks} == {50.0}
        assert all(len(set(row.values)) > 1 for row in result.blocks)
