"""Scores against their definitions, computed the slow way."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from droplab.train.tasks import CLASSIFICATION


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
