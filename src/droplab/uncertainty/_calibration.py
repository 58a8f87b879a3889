"""How far confidences and quantiles hold, and what mends them: a temperature, a noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from droplab.errors import ArgumentError, quote
from droplab.numeric import real, whole
from droplab.uncertainty._predict import QUANTILES, Prediction, check_quantiles

BINS = 15
"""Bins of a calibration error, as everywhere in droplab."""


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram.

    Attributes:
        confidence: Mean confidence of its examples.
        accuracy: Share of them that is right.
        count: How many there are. Below some thirty, the accuracy says little.
    """

    confidence: float
    accuracy: float
    count: int


def calibration(prediction: Prediction, targets: Tensor, *, bins: int = BINS) -> list[Bin]:
    """Return how far what is promised holds: a list of points, right where both numbers are equal.

    Of classes it is the reliability diagram, confidence against accuracy in bins of equal width. Of
    values it is the calibration curve: for each quantile that the prediction has, its level against
    the share of targets that are not above it; all of them count at each level.

    Args:
        prediction: What `predict` returned; of values with a quantile for each point.
        targets: Class numbers (B, ...), or values of the shape of the mean.
        bins: Bins of the confidence.

    Raises:
        ArgumentError: If the targets do not fit the prediction, or `bins` is below 1.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks; of values Kuleshov et al.
        (2018), Accurate Uncertainties for Deep Learning Using Calibrated Regression, section 3.

    Example:
        >>> values = torch.tensor([0.0, 1.0, 2.0, 3.0])
        >>> found = Prediction("regression", 2, values, {}, {}, {0.5: torch.full((4,), 1.5)})
        >>> calibration(found, values)
        [Bin(confidence=0.5, accuracy=0.5, count=4)]
    """
    if prediction.task == "regression":
        y = fitting(targets, prediction.mean)
        return [
            Bin(level, float((y <= value).double().mean()), y.numel())
            for level, value in sorted(prediction.quantiles.items())
        ]
    p, y = flat(prediction.mean, targets)
    confidence, guess = p.max(1)
    return binned(confidence, (guess == y).double(), equal_width(confidence, checked(bins)))


def calibration_by_chance(prediction: Prediction, *, bins: int = BINS) -> float:
    """Return the calibration error that so many examples give on average if confidences are right.

    An error that is not well above it says nothing. It falls with the square root of the number of
    examples: for an error of 0.01 by chance, N times the square of a hundred times it are needed.

    Args:
        prediction: What `predict` returned, of classes.
        bins: Bins of equal width.

    Raises:
        ArgumentError: If it is no prediction of classes, or `bins` is below 1.

    Source:
        In each bin the number that is right has variance sum p (1 - p), and the mean absolute value
        of a normal variable is its standard deviation times sqrt(2 / pi).

    Example:
        >>> half = torch.full((400, 2), 0.5)
        >>> found = Prediction("classification", 2, half, {}, {}, {})
        >>> round(calibration_by_chance(found), 4)
        0.0199
    """
    if prediction.task == "regression":
        raise ArgumentError(
            "calibration_by_chance: expected a prediction of classes, got a regression"
        )
    confidence = prediction.mean.movedim(1, -1).flatten(0, -2).amax(1)
    places = equal_width(confidence, checked(bins))
    variance = torch.zeros(bins, dtype=confidence.dtype)
    variance.index_add_(0, places, confidence * (1 - confidence))
    return float((variance * 2 / math.pi).sqrt().sum() / len(confidence))


def fit_temperature(prediction: Prediction, targets: Tensor) -> float:
    """Return the temperature that makes the likelihood of the mean largest, on validation data.

    The probabilities are then `softmax(log(mean) / temperature)`, as `tempered` gives them. It does
    not change which class is the largest.

    Raises:
        ArgumentError: If it is no prediction of classes, or the targets do not fit it.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, section 4.2, with the logits of
        the mean over passes.
    """
    if prediction.task == "regression":
        raise ArgumentError("fit_temperature: expected a prediction of classes, got a regression")
    p, y = flat(prediction.mean, targets)
    logs = p.clamp(min=torch.finfo(p.dtype).tiny).log()

    def loss(power: float) -> float:
        return float(torch.nn.functional.cross_entropy(logs * math.exp(-power), y))

    # convex in 1 / T, so it has one minimum, which the golden section closes in on
    low, high, golden = -5.0, 5.0, (math.sqrt(5) - 1) / 2
    for _ in range(60):
        one, two = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, two) if loss(one) < loss(two) else (one, high)
    return math.exp((low + high) / 2)


def fit_noise(prediction: Prediction, targets: Tensor) -> float:
    """Return the noise that makes the likelihood of values largest, on validation data.

    It is the variance sigma^2 of targets around the mean that the spread of the passes leaves, and
    so 0 where that spread alone is too wide.

    Args:
        prediction: Of a regression; a noise that it has already does not count.
        targets: Values of the shape of the mean.

    Raises:
        ArgumentError: If it is no prediction of values, or the targets do not fit it.

    Example:
        >>> values = torch.zeros(4, dtype=torch.float64)
        >>> found = Prediction("regression", 2, values, {"variance": values}, {}, {})
        >>> round(fit_noise(found, torch.tensor([-2.0, 2.0, -2.0, 2.0])), 6)
        4.0
    """
    if prediction.task != "regression":
        raise ArgumentError("fit_noise: expected a prediction of values, got one of classes")
    y = fitting(targets, prediction.mean)
    if not len(y):
        raise ArgumentError("fit_noise: expected at least one target, got none")
    square = (y.double() - prediction.mean).square()
    spread = prediction["variance"]
    high = float(square.max())  # above it every term of the likelihood falls
    if high == 0:
        return 0.0

    def loss(noise: float) -> float:
        total = spread + noise
        return float((total.log() + square / total).mean())

    # on a logarithmic grid, then between its neighbours: the likelihood may have several maxima
    grid = [high * 10 ** (-12 + 12 * at / 99) for at in range(100)]
    for _ in range(3):
        best = min(range(len(grid)), key=lambda at: loss(grid[at]))
        low, top = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
        grid = [low + (top - low) * at / 50 for at in range(51)]
    found = min(grid, key=loss)
    return 0.0 if spread.min() > 0 and loss(0.0) <= loss(found) else found


def noisy(
    prediction: Prediction, noise: float | Tensor, quantiles: Sequence[float] = QUANTILES
) -> Prediction:
    """Return a prediction of values with another noise: see `fit_noise`.

    Its quantiles are those of the normal distribution of mean and total variance.

    Args:
        prediction: Of a regression.
        noise: The variance of the noise, one for all, or of the shape of the mean.
        quantiles: Which quantiles.

    Raises:
        ArgumentError: If it is no prediction of values, or the noise or a quantile is impossible.
    """
    if prediction.task != "regression":
        raise ArgumentError("noisy: expected a prediction of values, got one of classes")
    check_quantiles(quantiles)
    given = numbers(noise, "noise")
    if (given < 0).any():
        raise ArgumentError(
            f"noise: expected a variance, at least 0, got {quote(given.min().item())}"
        )
    variance = prediction["variance"]
    own = torch.zeros_like(variance) + given
    total = variance + own
    levels = torch.tensor(list(quantiles), dtype=torch.float64)
    found = {
        q: prediction.mean + z * total.sqrt()
        for q, z in zip(quantiles, torch.special.ndtri(levels).tolist(), strict=True)
    }
    measures = {"variance": variance, "noise": own, "total": total}
    return replace(prediction, measures=measures, quantiles=found)


def tempered(mean: Tensor, temperature: float) -> Tensor:
    """Return probabilities (B, C, ...) at a temperature; see `fit_temperature`.

    Raises:
        ArgumentError: If the temperature is not above 0.
    """
    number = real(temperature)
    if number is None or not 0 < number < math.inf:
        raise ArgumentError(f"temperature: expected a number above 0, got {quote(temperature)}")
    return (mean.clamp(min=torch.finfo(mean.dtype).tiny).log() / temperature).softmax(1)


def binned(confidence: Tensor, right: Tensor, places: Tensor) -> list[Bin]:
    found: list[Bin] = []
    for place in places.unique():
        inside = places == place
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        found.append(Bin(mean, share, int(inside.sum())))
    return found


def equal_width(confidence: Tensor, bins: int) -> Tensor:
    edges = torch.arange(1, bins, dtype=confidence.dtype) / bins
    return torch.bucketize(confidence, edges)


def equal_mass(confidence: Tensor, bins: int) -> Tensor:
    rank = confidence.argsort().argsort()
    return rank * bins // len(confidence)


def ece(bins: list[Bin]) -> float:
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / total


def checked(bins: int) -> int:
    number = whole(bins)
    if number is None or number < 1:
        raise ArgumentError(f"bins: expected a whole number of at least 1, got {quote(bins)}")
    return number


def numbers(values: Any, where: str) -> Tensor:
    """Return numbers from outside, be they a tensor, an array or a list."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"{where}: expected a tensor, an array or a list of numbers, got {quote(values)}"
        ) from None
    if not (sound := found.isfinite()).all():
        at = sound.logical_not().nonzero()[0].tolist()
        raise ArgumentError(
            f"{where}: expected finite numbers, got {found[tuple(at)].item()} for example "
            f"{at[0] if at else 0} (counted from 0); leave such examples out"
        )
    return found


def fitting(targets: Any, mean: Tensor) -> Tensor:
    targets = numbers(targets, "targets")
    if targets.shape != mean.shape and targets.shape == mean.shape[:-1] and mean.shape[-1] == 1:
        targets = targets.unsqueeze(-1)
    if targets.shape != mean.shape:
        raise ArgumentError(
            f"targets: expected shape {tuple(mean.shape)}, as the prediction has, got "
            f"{tuple(targets.shape)}"
        )
    return targets


def flat(mean: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
    """Return probabilities (N, C) and classes (N,), the places of maps among the examples."""
    targets = numbers(targets, "targets")
    expected = (mean.shape[0], *mean.shape[2:])
    columns = (*expected, 1), (expected[0], 1, *expected[1:])  # an axis of one label
    y = targets.reshape(expected) if targets.shape in columns else targets
    if tuple(y.shape) != expected:
        raise ArgumentError(
            f"targets: expected a class for each prediction, shape {expected}, got "
            f"{tuple(targets.shape)}"
        )
    if not len(y):
        raise ArgumentError("targets: expected at least one, got none")
    whole_numbers = y if not y.is_floating_point() else y.long()
    if (whole_numbers != y).any() or y.min() < 0 or y.max() >= mean.shape[1]:
        raise ArgumentError(
            f"targets: expected class numbers from 0 to {mean.shape[1] - 1}, got values from "
            f"{quote(y.min().item())} to {quote(y.max().item())}"
        )
    return mean.movedim(1, -1).flatten(0, -2), whole_numbers.flatten().long()
