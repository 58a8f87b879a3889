"""Measures of uncertainty against a plain reference, and their errors against repetition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.uncertainty import Prediction, predict, sample, score

X = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))


def net(classes: int = 3, p: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, classes)]
    return nn.Sequential(*layers).eval()


def asked(model: nn.Module, passes: int = 30, seed: int = 0, **options) -> Prediction:
    return predict(model, X, passes, **({"seed": seed, "task": "classification"} | options))


def asked_of(model: nn.Module, data: torch.Tensor, **options) -> Prediction:
    return predict(model, data, 5, seed=0, task="classification", **options)


def test_classes_equal_a_reference_in_two_passes():
    logits = sample(net(), X, 30, seed=0).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    found = asked(net())
    mean = p.mean(0)
    entropy = -(mean * np.log(mean)).sum(1)
    expected = -(p * np.log(p)).sum(2).mean(0)
    votes = [np.bincount(column, minlength=3).max() / 30 for column in p.argmax(2).T]
    for name, value in {
        "entropy": entropy,
        "expected_entropy": expected,
        "mutual_information": entropy - expected,
        "variation_ratio": 1 - np.array(votes),
        "spread": p.std(0, ddof=1),
    }.items():
        assert found[name].numpy() == pytest.approx(value, abs=1e-6), name
    assert found.mean.numpy() == pytest.approx(mean, abs=1e-6)
    assert (found.passes, found.passes_to_halve) == (30, 120)


def test_values_equal_a_reference_in_two_passes():
    y = sample(net(1), X, 30, seed=0)[..., 0].double().numpy()
    found = asked(net(1), task="regression", noise=0.25)
    assert found.mean[:, 0].numpy() == pytest.approx(y.mean(0), abs=1e-6)
    assert found["variance"][:, 0].numpy() == pytest.approx(y.var(0, ddof=1), abs=1e-6)
    assert found["total"] - found["variance"] == pytest.approx(0.25)


def test_without_noise_quantiles_are_those_of_the_passes_and_with_it_wider():
    y = sample(net(1), X, 30, seed=0).double()
    plain = asked(net(1), task="regression")
    assert torch.allclose(plain.quantiles[0.25], y.quantile(0.25, dim=0), atol=1e-6)
    noisy = asked(net(1), task="regression", noise=4.0)
    for q, value in noisy.quantiles.items():  # the share of the mixture below it is q
        share = torch.special.ndtr((value - y) / 2.0).mean(0)
        assert torch.allclose(share, torch.full_like(share, q), atol=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_errors_are_how_far_other_masks_lead(task):
    """Over 200 draws, the spread of each estimate against the mean of what it says of itself.

    Each draw is a copy of the 100 inputs, with masks of its own. Averaged over the inputs, a right
    error is within 15 %: the spread of 200 has an error of 5 % for each input.
    """
    model = net(3 if task == "classification" else 1)
    found = predict(model, X.repeat(200, 1), 40, seed=0, task=task)
    for name in [*found.measures, "mean"]:
        if name == "noise":
            continue
        each = (found.mean if name == "mean" else found[name]).unflatten(0, (200, len(X)))
        spread = each.std(0).mean()
        assert float(spread / found.errors[name].mean()) == pytest.approx(1, abs=0.15), name


def test_four_times_the_passes_halve_the_errors():
    few, many = asked(net(), 50), asked(net(), 200)
    for name in few.errors:
        assert float(many.errors[name].mean() / few.errors[name].mean()) == pytest.approx(
            0.5, rel=0.15
        )


def test_mutual_information_is_0_where_dropout_reaches_no_output():
    model = net()
    with torch.no_grad():
        model[-1].weight.zero_()
    found = asked(model)
    assert float(found["mutual_information"].max()) < 1e-12
    assert float(found["variation_ratio"].max()) == 0
    assert all(torch.isfinite(error).all() for error in found.errors.values())


def test_one_logit_is_two_classes():
    found = asked(net(1), task="binary")
    assert found.mean.shape == (100, 2)
    assert torch.allclose(found.mean.sum(1), torch.ones(100, dtype=torch.float64))
    logits = sample(net(1), X, 30, seed=0)[..., 0]
    assert torch.allclose(found.mean[:, 1].float(), torch.sigmoid(logits).mean(0), atol=1e-6)


def test_maps_keep_their_places():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout2d(0.5), nn.Conv2d(4, 3, 1))
    found = predict(model, torch.randn(5, 1, 6, 7), 8, seed=0, task="classification")
    assert found.mean.shape == (5, 3, 6, 7)
    assert found["entropy"].shape == (5, 6, 7)


def test_a_map_of_one_logit_is_a_map_of_two_classes():
    """As segmentation networks return it, (B, 1, H, W), with masks of that shape or (B, H, W)."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout2d(0.5), nn.Conv2d(4, 1, 1))
    found = predict(model, torch.randn(5, 1, 6, 7), 8, seed=0, task="binary")
    assert found.mean.shape == (5, 2, 6, 7)
    masks = (torch.rand(5, 1, 6, 7) > 0.5).long()
    assert score(found, masks) == score(found, masks[:, 0])


def test_what_the_model_returns_can_be_taken_apart():
    class Several(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.net, self.name = net(), name

        def forward(self, x):
            return {self.name: self.net(x), "hidden": x}

    logits = sample(Several("logits"), X, 30, seed=0)["logits"]
    expected = logits.double().softmax(2).mean(0)
    assert torch.allclose(asked(Several("logits")).mean, expected, atol=1e-6)
    taken = asked(Several("scores"), output=lambda out: out["scores"])
    assert torch.allclose(taken.mean, expected, atol=1e-6)
    with pytest.raises(ArgumentError, match="say with output"):
        asked(Several("scores"))


def test_classes_on_the_last_axis_are_moved_by_output():
    """And what is not wanted of a model's output, as a cache, may be anything."""

    class Writer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))

        def forward(self, x):
            return {"logits": self.net(x), "cache": object()}

    x = torch.randn(70, 5, 4)
    found = asked_of(Writer(), x, output=lambda out: out["logits"].movedim(-1, 1))
    assert found.mean.shape == (70, 3, 5)
    assert torch.allclose(found.mean.sum(1), torch.ones(70, 5, dtype=torch.float64))
    assert asked_of(Writer(), x).mean.shape == (70, 5, 3)  # logits are found by that name
    kept = sample(Writer(), x, 2, seed=0, output=lambda out: out["logits"])
    assert kept.shape == (2, 70, 5, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"passes": 1}, "one pass has no spread"),
        ({"passes": 0}, "passes: expected"),
        ({"task": "regresion"}, "did you mean 'regression'"),
        ({"noise": 0.1}, "noise: .* got 0.1 for classification"),
        ({"task": "regression", "noise": -1}, "noise: expected"),
        ({"task": "regression", "noise": math.nan}, "noise: expected"),
        ({"quantiles": [2]}, "quantiles: expected"),
        ({"quantiles": 0.5}, "quantiles: expected a list of numbers between 0 and 1, got 0.5"),
        ({"task": "tokens"}, "no task 'tokens' here; valid names are binary"),
        ({"output": lambda out: out["logits"]}, "fails on inputs 0 to 63"),
    ],
)
def test_bad_input_gets_one_sentence(options, words):
    with pytest.raises(ArgumentError, match=words):
        asked(net(), **options)


def test_one_logit_is_no_classification():
    with pytest.raises(ArgumentError, match="task = 'binary'"):
        asked(net(1))
    with pytest.raises(ArgumentError, match="no measure 'entropi'; did you mean 'entropy'"):
        asked(net())["entropi"]
