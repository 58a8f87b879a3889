"""Scores against their definitions, computed the slow way."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from droplab.train.tasks import CLASSIFICATION, KINDS
from droplab.train.tasks._answers import MOST_CLASSES


def slow_ece(probabilities, targets, bins=15):
    total = 0.0
    confidence, predicted = probabilities.max(1)
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            accuracy = (predicted[inside] == targets[inside]).double().mean()
            gap = (accuracy - confidence[inside].double().mean()).abs()
            total += gap.item() * inside.double().mean().item()
    return total


@pytest.mark.parametrize("classes", [2, 10])
def test_score_equals_the_definitions(classes):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1000, classes, generator=generator)
    targets = torch.randint(0, classes, (1000,), generator=generator)
    meter = CLASSIFICATION.meter()
    for part, labels in zip(logits.split(77), targets.split(77), strict=True):
        meter.add(part[None], labels)
    (score,) = meter.scores()
    assert score["loss"] == pytest.approx(
        F.cross_entropy(logits.double(), targets).item(), rel=1e-6
    )
    assert score["accuracy"] == (logits.argmax(1) == targets).double().mean().item()
    assert score["ece"] == pytest.approx(slow_ece(logits.softmax(1), targets), rel=1e-5)


def test_a_confidence_of_one_is_in_the_last_bin():
    meter = CLASSIFICATION.meter()
    meter.add(torch.tensor([[[200.0, 0.0]]]), torch.tensor([1]))
    assert meter.scores()[0]["ece"] == pytest.approx(1.0)


def test_nothing_measured_is_nan():
    assert math.isnan(CLASSIFICATION.meter().scores()[0]["loss"])


def answers_of(task, outputs, targets):
    meter = task.meter(len(outputs))
    meter.ask(None, answers=True)
    for part, labels in zip(outputs.split(7, dim=1), targets.split(7), strict=True):
        meter.add(part, labels)
    return None if meter.answers is None else meter.answers.of_members()


def test_answers_are_counted_by_class_and_by_confidence():
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, 40, 4, generator=generator)
    targets = torch.randint(0, 3, (40,), generator=generator)  # nobody has the last class
    for member, found in enumerate(answers_of(CLASSIFICATION, logits, targets)):
        predicted = logits[member].argmax(1)
        assert found.classes == tuple(
            (int((targets == c).sum()), int(((targets == c) & (predicted == c)).sum()))
            for c in range(4)
        )
        confidence = logits[member].double().softmax(1).amax(1)
        inside = [(confidence > i / 15) & (confidence <= (i + 1) / 15) for i in range(15)]
        assert [n for n, _, _ in found.bins] == [int(each.sum()) for each in inside]
        sums = [float(confidence[each].sum()) for each in inside]
        assert [each for _, each, _ in found.bins] == pytest.approx(sums, rel=1e-5)
        right = [int((predicted == targets)[each].sum()) for each in inside]
        assert [each for _, _, each in found.bins] == right


def test_answers_of_yes_or_no_and_of_very_many_classes_and_of_none():
    (found,) = answers_of(
        KINDS["binary"](), torch.tensor([[2.0, -1.0, 3.0]]), torch.tensor([1, 1, 0])
    )
    assert found.classes == ((1, 0), (2, 1))
    assert sum(n for n, _, _ in found.bins) == 3
    many = torch.zeros(1, 2, MOST_CLASSES + 1)
    (found,) = answers_of(CLASSIFICATION, many, torch.tensor([0, 1]))
    assert found.classes == ()
    assert found.bins[0] == (2, pytest.approx(2 / (MOST_CLASSES + 1)), 1)
    assert answers_of(KINDS["regression"](), torch.zeros(1, 2), torch.zeros(2)) is None
