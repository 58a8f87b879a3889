"""Scores against scikit-learn, closed forms, and tables worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from droplab.errors import ArgumentError
from droplab.uncertainty import (
    Prediction,
    calibration,
    calibration_by_chance,
    coverage_at,
    fit_noise,
    fit_temperature,
    joined,
    noisy,
    score,
    separation,
    tempered,
)

DRAW = torch.Generator().manual_seed(0)
P = torch.randn(400, 4, generator=DRAW, dtype=torch.float64).mul(2).softmax(1)
Y = torch.randint(4, (400,), generator=DRAW)


def classes(p: torch.Tensor) -> Prediction:
    entropy = -torch.special.xlogy(p, p).sum(1)
    return Prediction("classification", 10, p, {"entropy": entropy}, {}, {})


def values(mean: torch.Tensor, total: torch.Tensor, quantiles=None) -> Prediction:
    return Prediction("regression", 10, mean, {"total": total}, {}, quantiles or {})


def test_classes_equal_scikit_learn():
    found = score(classes(P), Y)
    p, y = P.numpy(), Y.numpy()
    assert found["accuracy"] == metrics.accuracy_score(y, p.argmax(1))
    assert found["nll"] == pytest.approx(metrics.log_loss(y, p))
    assert found["brier"] == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(1).mean())


def test_the_calibration_error_equals_one_by_loops():
    confidence, right = P.numpy().max(1), P.numpy().argmax(1) == Y.numpy()
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert score(classes(P), Y)["ece"] == pytest.approx(expected)
    parts = np.array_split(np.argsort(confidence), 10)  # 400 are ten times forty
    mass = sum(len(i) / 400 * abs(confidence[i].mean() - right[i].mean()) for i in parts)
    assert score(classes(P), Y, bins=10)["ece_mass"] == pytest.approx(mass)
    assert sum(each.count for each in calibration(classes(P), Y)) == 400


def test_a_table_of_four_is_as_by_hand():
    """Entropies rise from row to row; the second and the last are wrong."""
    p = torch.tensor([[0.99, 0.01], [0.9, 0.1], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    found = score(classes(p), torch.tensor([0, 1, 0, 1]), bins=1)
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found["ece"] == pytest.approx((0.99 + 0.9 + 0.7 + 0.6) / 4 - 0.5)


def test_maps_and_columns_of_targets_are_read():
    maps = P.reshape(100, 4, 4).movedim(2, 1)  # (B, C, places)
    assert score(classes(maps), Y.reshape(100, 4))["nll"] == pytest.approx(
        score(classes(P), Y)["nll"]
    )
    assert score(classes(P), Y[:, None]) == score(classes(P), Y)


def test_the_temperature_of_overconfident_logits_is_found():
    """Targets are drawn from probabilities; logits of three times theirs need temperature 3."""
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(20_000, 5, generator=draw, dtype=torch.float64)
    y = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    sharp = (3 * logits).softmax(1)
    found = fit_temperature(classes(sharp), y)
    assert found == pytest.approx(3, rel=0.05)
    before, after = (score(classes(p), y)["ece"] for p in (sharp, tempered(sharp, found)))
    assert after < before / 5


def test_values_have_the_closed_forms_of_a_normal_distribution():
    draw = torch.Generator().manual_seed(2)
    mean, y = torch.randn(2, 300, 1, generator=draw, dtype=torch.float64)
    total = torch.rand(300, 1, generator=draw, dtype=torch.float64) + 0.5
    ends = {q: mean + total.sqrt() * z for q, z in ((0.025, -1.96), (0.975, 1.96))}
    found = score(values(mean, total, ends), y[:, 0])
    normal = torch.distributions.Normal(mean, total.sqrt())
    assert found["nll"] == pytest.approx(float(-normal.log_prob(y).mean()))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, mean))
    # CRPS = E|X - y| - E|X - X'| / 2
    one, two = (normal.sample((4000,)) for _ in range(2))
    crps = ((one - y).abs().mean(0) - (one - two).abs().mean(0) / 2).mean()
    assert found["crps"] == pytest.approx(float(crps), rel=0.05)
    inside = ((y - mean).abs() <= 1.96 * total.sqrt()).double().mean()
    assert found["coverage_95"] == pytest.approx(float(inside))


def test_without_any_spread_crps_is_the_absolute_error():
    mean, y = torch.zeros(3, 1, dtype=torch.float64), torch.tensor([1.0, -2.0, 0.5])
    assert score(values(mean, torch.zeros(3, 1)), y)["crps"] == pytest.approx(3.5 / 3)


def scattered(spread: torch.Tensor) -> Prediction:
    return Prediction("regression", 10, torch.zeros_like(spread), {"variance": spread}, {}, {})


@pytest.mark.parametrize("true", [0.05, 1.0, 40.0])
def test_the_noise_under_the_spread_of_the_passes_is_found(true):
    """Within four standard errors of a maximum likelihood estimate, by Fisher's information."""
    spread = 2 * torch.rand(5000, generator=DRAW, dtype=torch.float64)
    total = spread + true
    targets = total.sqrt() * torch.randn(5000, generator=DRAW, dtype=torch.float64)
    error = (0.5 * total.pow(-2).sum()).rsqrt()
    assert abs(fit_noise(scattered(spread), targets) - true) < 4 * error
    # a spread that is too wide by itself leaves none
    assert fit_noise(scattered(9 * spread + 1), 0.1 * targets / total.sqrt()) == 0


def test_the_noise_is_where_the_likelihood_is_largest():
    spread = torch.rand(60, generator=DRAW, dtype=torch.float64)
    targets = torch.randn(60, generator=DRAW, dtype=torch.float64)
    found = scattered(spread)
    noise = fit_noise(found, targets)

    def loss(value: float) -> float:
        return score(noisy(found, value), targets)["nll"]

    assert all(loss(noise) <= loss(each) + 1e-9 for each in np.linspace(0, 5, 400))
    exact = Prediction("regression", 2, targets, {"variance": 0 * targets}, {}, {})
    assert fit_noise(exact, targets) == 0


def test_the_calibration_of_values_is_the_share_under_each_quantile():
    """The targets follow the prediction, so each share is binomial: four standard errors."""
    spread = torch.rand(4000, generator=DRAW, dtype=torch.float64)
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    right = noisy(scattered(spread), 0.3, levels)
    targets = right["total"].sqrt() * torch.randn(4000, generator=DRAW, dtype=torch.float64)
    for each, level in zip(calibration(right, targets), levels, strict=True):
        error = math.sqrt(level * (1 - level) / 4000)
        assert (each.confidence, each.count) == (level, 4000)
        assert abs(each.accuracy - level) < 4 * error
    narrow = calibration(noisy(scattered(0 * spread), 0.03, levels), targets)
    assert narrow[0].accuracy > 0.2
    both = joined([right, right])
    assert calibration(both, torch.cat([targets, targets]))[0].count == 8000


def test_right_confidences_have_the_calibration_error_of_chance():
    """The mean over 300 draws of what is right, within four of its standard errors and 3 %.

    The formula takes counts in bins for normal, which costs up to some 3 % here.
    """
    found = classes(P)
    errors = []
    for _ in range(300):
        right = torch.multinomial(P, 1, generator=DRAW).squeeze(1)
        errors.append(score(found, right)["ece"])
    expected, error = calibration_by_chance(found), np.std(errors) / math.sqrt(300)
    assert abs(np.mean(errors) - expected) < 4 * error + 0.03 * expected
    four = classes(torch.cat([P] * 4))
    assert calibration_by_chance(four) == pytest.approx(expected / 2)


def test_coverage_at_a_risk_is_as_by_hand():
    p = torch.tensor([0.99, 0.9, 0.9, 0.8, 0.6])
    found = classes(torch.stack((p, 1 - p), dim=1).double())
    targets = torch.tensor([0, 0, 1, 0, 0])  # of two that are equally certain one is wrong
    covered = {risk: coverage_at(found, targets, risk) for risk in (0.0, 0.2, 0.25, 0.34, 1.0)}
    assert covered == pytest.approx({0.0: 0.2, 0.2: 1.0, 0.25: 1.0, 0.34: 1.0, 1.0: 1.0})
    wrong = torch.tensor([0, 1, 1, 1, 1])
    assert coverage_at(found, wrong, 0.5) == pytest.approx(0.2)
    assert coverage_at(found, 1 - targets, 0.0) == 0.0
    assert score(found, targets)["coverage_at_5"] == pytest.approx(0.2)


def test_separation_equals_scikit_learn_with_ties():
    draw = torch.Generator().manual_seed(3)
    inside = torch.randint(0, 20, (300,), generator=draw)
    outside = torch.randint(5, 25, (200,), generator=draw)
    found = separation(inside, outside)
    truth, both = np.r_[np.zeros(300), np.ones(200)], np.r_[inside.numpy(), outside.numpy()]
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, both))
    assert found["aupr"] == pytest.approx(metrics.average_precision_score(truth, both))
    false, true, _ = metrics.roc_curve(truth, both, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(false[np.argmax(true >= 0.95)])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: score(classes(P), Y[:5]), r"shape \(400,\), got \(5,\)"),
        (lambda: score(classes(P), Y + 1), "class numbers from 0 to 3, got values from 1 to 4"),
        (lambda: score(classes(P), Y + 0.5), "class numbers"),
        (lambda: score(classes(P), Y, bins=0), "bins: expected"),
        (lambda: score(classes(P[:0]), Y[:0]), "at least one"),
        (lambda: score(values(P, P), Y), r"expected shape \(400, 4\)"),
        (lambda: calibration(values(P, P), Y), r"targets: expected shape \(400, 4\)"),
        (lambda: fit_noise(classes(P), Y), "expected a prediction of values"),
        (lambda: coverage_at(values(P, P), Y, 0.1), "got a regression"),
        (lambda: coverage_at(classes(P), Y, 1.5), r"risk: .* got 1\.5"),
        (lambda: calibration_by_chance(values(P, P)), "got a regression"),
        (lambda: calibration_by_chance(classes(P), bins=0), "bins: expected"),
        (lambda: noisy(classes(P), 1.0), "expected a prediction of values"),
        (lambda: fit_noise(values(P[:0], P[:0]), P[:0]), "expected at least one target"),
        (lambda: fit_temperature(values(P, P), Y), "got a regression"),
        (lambda: separation(P[:0], P), "got none on one"),
        (lambda: separation(torch.tensor([0.1, math.nan]), P), "got nan for example 1"),
        (lambda: separation("high", P), "separation: expected a tensor, an array or a list"),
        (lambda: score(classes(P), None), "targets: expected a tensor, an array or a list"),
        (lambda: score(values(P, P), P.log() * math.inf), "targets: expected finite numbers"),
        (lambda: tempered(P, 0), "temperature: expected a number above 0, got 0"),
        (lambda: tempered(P, math.nan), "temperature: expected a number above 0, got nan"),
        (lambda: noisy(values(P, P), -0.5), "noise: expected a variance, at least 0, got -0.5"),
        (lambda: noisy(values(P, P), 1.0, [1.0]), "quantiles: expected numbers between 0 and 1"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()


def test_targets_may_be_an_array_or_a_list():
    expected = score(classes(P), Y)
    assert score(classes(P), Y.numpy()) == expected
    assert score(classes(P), Y.tolist()) == expected
    assert separation([0.1, 0.2], np.array([0.3])) == {"auroc": 1.0, "aupr": 1.0, "fpr95": 0.0}


def test_what_is_certain_and_wrong_has_a_finite_likelihood():
    p = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert math.isfinite(score(classes(p), torch.tensor([1]))["nll"])
