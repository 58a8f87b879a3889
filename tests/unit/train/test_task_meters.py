"""What each task measures, against direct formulas, over any way to cut a split into batches."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from droplab.errors import ArgumentError, DataError
from droplab.recipe import FURTHER, TARGETS, TASKS, TaskName
from droplab.train.tasks import KINDS, CrossEntropy, check_split
from droplab.train.tasks._binary import auroc
from droplab.train.tasks._losses import own


def measured(task, outputs, targets, size):
    meter = task.meter(len(outputs))
    for first in range(0, len(targets), size):
        part = slice(first, first + size)
        meter.add(outputs[:, part], targets[part])
    return meter.scores()


def slow_auroc(scores, positive):
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[positive].tolist()
        for b in scores[~positive].tolist()
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


seeds, sizes = st.integers(0, 2**31), st.integers(1, 40)


@given(seeds, sizes, st.booleans())
def test_binary(seed, size, coarse):
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(2, 30, generator=generator)
    outputs = outputs.round() if coarse else outputs  # with equal scores
    targets = (torch.rand(30, generator=generator) < 0.4).long()
    found = measured(KINDS["binary"](), outputs[..., None], targets, size)
    for score, logits in zip(found, outputs, strict=True):
        assert score["loss"] == pytest.approx(
            F.binary_cross_entropy_with_logits(logits, targets.float()).item(), rel=1e-5
        )
        assert score["accuracy"] == ((logits > 0).long() == targets).double().mean().item()
        expected = slow_auroc(logits, targets == 1)
        assert score["auroc"] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        two = torch.stack([-logits / 2, logits / 2], 1)
        as_classes = measured(KINDS["classification"](), two[None], targets, size)[0]
        assert score["ece"] == pytest.approx(as_classes["ece"], abs=1e-6)


@given(seeds, sizes)
def test_multilabel(seed, size):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(2, 25, 4, generator=generator)
    targets = (torch.rand(25, 4, generator=generator) < 0.3).float()
    targets[:, 3] = 0
    outputs[0, :, 3] = -1.0  # nobody has it and nobody says so
    found = measured(KINDS["multilabel"](), outputs, targets, size)
    for score, logits in zip(found, outputs, strict=True):
        said, true = logits > 0, targets > 0.5
        f1 = []
        for label in range(4):
            both = int((said[:, label] & true[:, label]).sum())
            wrong = int((said[:, label] ^ true[:, label]).sum())
            f1.append(2 * both / (2 * both + wrong) if both + wrong else 0.0)
        assert score["macro_f1"] == pytest.approx(sum(f1) / 4)
        assert score["accuracy"] == pytest.approx((said == true).double().mean().item())
        assert score["loss"] == pytest.approx(
            F.binary_cross_entropy_with_logits(logits, targets).item(), rel=1e-5
        )


@given(seeds, sizes, st.sampled_from([(), (1,), (3,)]), st.sampled_from([0.0, 1e4]))
def test_regression(seed, size, outputs_of, shift):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(30, *outputs_of, generator=generator) + shift
    outputs = targets + 0.5 * torch.randn(2, 30, *outputs_of, generator=generator)
    found = measured(KINDS["regression"](), outputs, targets, size)
    for score, predictions in zip(found, outputs.double(), strict=True):
        y = targets.double()
        off = predictions - y
        assert score["rmse"] == pytest.approx(off.square().mean().sqrt().item(), rel=1e-6)
        assert score["loss"] == pytest.approx(off.square().mean().item(), rel=1e-5)
        assert score["mae"] == pytest.approx(off.abs().mean().item(), rel=1e-6)
        spread = (y - y.mean(0)).square().sum(0)
        r2 = (1 - off.square().sum(0) / spread).mean().item()
        assert score["r2"] == pytest.approx(r2, rel=1e-6)


@given(seeds, sizes)
def test_tokens(seed, size):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(2, 20, 6, 5, generator=generator)
    targets = torch.randint(0, 5, (20, 6), generator=generator)
    targets[torch.rand(20, 6, generator=generator) < 0.3] = -100
    targets[0, 0] = 1
    found = measured(KINDS["tokens"](), outputs, targets, size)
    for score, logits in zip(found, outputs, strict=True):
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
        there = targets != -100
        assert score["loss"] == pytest.approx(loss, rel=1e-5)
        assert score["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
        right = (logits.argmax(2) == targets)[there].double().mean().item()
        assert score["accuracy"] == pytest.approx(right)


@given(seeds, sizes)
def test_the_perplexity_is_that_of_the_probabilities_whatever_the_loss(seed, size):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(1, 8, 3, 4, generator=generator)
    targets = torch.randint(0, 4, (8, 3), generator=generator)
    smooth = KINDS["tokens"](CrossEntropy(0.2, ignore_index=-100))
    one, two = (measured(t, outputs, targets, size)[0] for t in (smooth, KINDS["tokens"]()))
    assert one["perplexity"] == pytest.approx(two["perplexity"])
    for each, smoothing in ((one, 0.2), (two, 0.0)):
        loss = F.cross_entropy(
            outputs[0].flatten(0, 1), targets.flatten(), label_smoothing=smoothing
        )
        assert each["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_every_table_has_every_task():
    assert set(TASKS) == set(FURTHER) == set(TARGETS) == set(KINDS) == set(get_args(TaskName))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_measures_what_it_says(name):
    task = KINDS[name]()
    assert task.names == tuple(measure.name for measure in TASKS[name])
    nothing = task.meter(2).scores()
    assert [list(each) for each in nothing] == [list(task.names)] * 2
    assert all(math.isnan(value) for each in nothing for value in each.values())


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.randn(1, 60, generator=generator).mul(3).round()
        positive = torch.rand(60, generator=generator) < 0.3
        expected = metrics.roc_auc_score(positive.numpy(), scores[0].numpy())
        assert auroc(scores, positive).item() == pytest.approx(expected, rel=1e-12)


def test_an_area_of_what_is_no_number_is_none():
    scores = torch.tensor([[0.0, math.nan, 1.0], [0.0, 0.5, 1.0]])
    area = auroc(scores, torch.tensor([False, True, True])).tolist()
    assert math.isnan(area[0])
    assert area[1] == 1.0


@pytest.mark.parametrize(
    ("task", "targets", "split", "message"),
    [
        (
            "binary",
            torch.zeros(5).long(),
            "validation",
            "both classes, without which the area",
        ),
        ("regression", torch.ones(5), "validation", "numbers that differ, without which R squared"),
        ("regression", torch.tensor([[1.0, 2], [2, 2]]), "test", "got 2 in all 2 .* in column 1"),
        ("regression", torch.tensor([1.0, math.nan]), "train", "got nan at example 1; leave"),
        (
            "regression",
            torch.tensor([1, 2]),
            "train",
            "numbers, float32 .* got torch.int64",
        ),
        ("classification", torch.ones(3, 2), "train", "class numbers, int64 .N,., for task"),
        (
            "multilabel",
            torch.full((3, 2), 0.5),
            "train",
            r"expected 0 and 1, .* 0.5. at example 0$",
        ),
    ],
)
def test_a_split_that_a_task_cannot_have(task, targets, split, message):
    with pytest.raises(DataError, match=f"{split} targets: .*{message}"):
        check_split(task, targets, split)


def test_a_constant_is_no_reason_against_training_on_it():
    check_split("regression", torch.ones(5), "train")
    check_split("binary", torch.zeros(5).long(), "train")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda o, y: (o - y).square().mean(), "got one number for the batch; take reduction="),
        (lambda o, y: torch.ones(2, 2), r"got \(2, 2\); take the mean over all other dim"),
        (lambda o, y: 3.0, "got float"),
    ],
)
def test_an_own_loss_gives_one_number_for_each_example(function, message):
    task = KINDS["regression"](own(function, "losses:mine"))
    with pytest.raises(ArgumentError, match=f"for each example from losses:mine.*{message}"):
        task.mean(torch.zeros(2), torch.zeros(2))
