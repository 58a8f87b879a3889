"""Targets of tasks other than classification, and what is guessed of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from droplab import data
from droplab.data._targets import guess_task, read_targets
from droplab.errors import DataError
from droplab.recipe import DataSpec

X = np.arange(12, dtype=np.float32).reshape(6, 2)
TWO = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]])
CASES = {
    "names": (np.array(list("abcabc")), "classification"),
    "whole numbers": (np.array([0, 1, 2, 0, 1, 2]), "classification"),
    "floats that count": (np.array([0.0, 1, 2, 0, 1, 2]), "classification"),
    "one column": (np.array([[0], [1], [2], [0], [1], [2]]), "classification"),
    "whole but no classes": (np.array([25.0, 151, 75, 206, 141, 97]), "regression"),
    "some alike": (np.array([-1.0, 1, -1, 1, 3, 5]), "regression"),
    "fractions": (np.array([0.5, 1, 2, 0, 1, 2]), "regression"),
    "two outputs": (TWO * 0.3, "regression"),
    "labels": (TWO, "multilabel"),
    "float labels": (TWO.astype(np.float32), "multilabel"),
    "tokens": (TWO + 3, "tokens"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_targets_tell(name: str, tmp_path) -> None:
    targets, task = CASES[name]
    assert guess_task(targets, where="y") == task
    np.savez(tmp_path / "d.npz", x=X, y=targets)
    found = data.load(DataSpec(path=str(tmp_path / "d.npz"), validation=2))
    assert found.task == task
    split = found.train
    assert isinstance(split, data.Split)
    assert split.has_classes == (task == "classification")
    if task != "classification":
        assert np.allclose(split.targets.numpy(), targets)
        again = data.load(DataSpec(path=str(tmp_path / "d.npz"), validation=2), task=task)
        assert torch.equal(again.train.targets, split.targets)  # pyright: ignore[reportAttributeAccessIssue]


def test_classes_from_one_are_no_quantities(tmp_path) -> None:
    """They are told how to begin at 0, as whole numbers are."""
    np.savez(tmp_path / "d.npz", x=X, y=np.array([1.0, 2, 3, 1, 2, 3]))
    with pytest.raises(DataError, match="labels that begin at 1"):
        data.load(DataSpec(path=str(tmp_path / "d.npz"), validation=2))


@pytest.mark.parametrize("values", [(-1.0, 1.0), (3.0, 5.0, 6.0), (0.0, 2.0)])
def test_whole_floats_that_many_examples_share_are_not_certain(values) -> None:
    """They may be signs, or grades, or counts."""
    with pytest.raises(DataError, match=r"whole numbers, .* if they are classes, give"):
        guess_task(np.array(values * 4), where="y")


def test_one_hot_rows_are_not_certain() -> None:
    with pytest.raises(DataError, match=r"y: .* labels.argmax\(1\) instead, else give the task"):
        guess_task(np.eye(4), where="y")


@pytest.mark.parametrize("form", ["list", "streamed", "array"])
@pytest.mark.parametrize("name", ["fractions", "two outputs", "labels", "tokens", "some alike"])
def test_a_map_style_data_set_tells_as_well(name: str, form: str) -> None:
    from droplab.data._memory import as_split

    targets, task = CASES[name]
    plain = targets.tolist() if form == "list" else list(targets)
    items = list(zip(torch.from_numpy(X), plain, strict=True))
    split = as_split(
        items,
        name="items",
        classes=0,
        in_memory=form != "streamed",
        progress=lambda what, done, total: None,
    )
    _, found = next(split.batches(torch.arange(6), 6))
    assert np.allclose(found.numpy(), targets)
    assert found.dtype == (torch.int64 if task == "tokens" else torch.float32)


@pytest.mark.parametrize(
    ("targets", "task", "message"),
    [
        ([0.5, np.nan], "regression", "y: expected finite .* got nan at example 1; leave examples"),
        ([0.5, 1e300], "regression", "got 1e.300 at example 1"),
        ([["a"]], "regression", "got names, 'a' for example"),
        (["low", "high"], "regression", "got names, 'low' for example"),
        (np.zeros((2, 2, 2)), "regression", r"got shape \(2, 2, 2\)"),
        ([[0, 2]], "multilabel", "y: expected 0 and 1 .* got 2 at example 0"),
        ([0, 1], "multilabel", r"got shape \(2,\)"),
        ([[0.5, 1]], "tokens", "whole numbers .* got numbers such as 0.5"),
        ([0, 1], "tokens", r"got shape \(2,\)"),
    ],
)
def test_a_task_that_does_not_fit_the_targets(targets, task: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_targets(targets, task, where="y")
