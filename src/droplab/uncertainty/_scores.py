"""How good predictions and their uncertainty are, against targets and against other data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from droplab.errors import ArgumentError, quote
from droplab.numeric import real
from droplab.uncertainty._calibration import (
    BINS,
    binned,
    calibration,
    checked,
    ece,
    equal_mass,
    fitting,
    flat,
    numbers,
)
from droplab.uncertainty._predict import Prediction


def score(prediction: Prediction, targets: Tensor, *, bins: int = BINS) -> dict[str, float]:
    """Return the scores of a prediction by name.

    Of classes: `accuracy`, `nll` (negative log likelihood of the mean, in nats), `brier` (over all
    classes, between 0 and 2), `ece` and `ece_mass` (calibration error in bins of equal width, and
    of equal numbers of examples), `aurc` (mean error rate over all coverages, the examples of
    lowest entropy first) and `coverage_at_5` (`coverage_at` a risk of 5 %).

    Of values, with the normal distribution of mean and total variance: `rmse`, `nll` and `crps`,
    and `coverage_95`, the share of targets between the quantiles of 2.5 and 97.5 %, where they were
    asked for.

    Args:
        prediction: What `predict` returned.
        targets: Class numbers (B, ...), or values of the shape of the mean.
        bins: Bins of the calibration errors.

    Raises:
        ArgumentError: If the targets do not fit the prediction, or `bins` is below 1.

    Example:
        >>> from torch import nn
        >>> from droplab.uncertainty import predict
        >>> model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
        >>> found = predict(model, torch.ones(6, 4), 20, seed=0, task="classification")
        >>> sorted(score(found, torch.zeros(6, dtype=torch.int64)))
        ['accuracy', 'aurc', 'brier', 'coverage_at_5', 'ece', 'ece_mass', 'nll']
    """
    if prediction.task == "regression":
        return _of_values(prediction, fitting(targets, prediction.mean).double())
    p, y = flat(prediction.mean, targets)
    confidence, guess = p.max(1)
    right = (guess == y).double()
    own = p[torch.arange(len(y)), y]
    entropy = prediction["entropy"].flatten()
    return {
        "accuracy": float(right.mean()),
        "nll": float(-own.clamp(min=torch.finfo(p.dtype).tiny).log().mean()),
        "brier": float((p.pow(2).sum(1) - 2 * own + 1).mean()),
        "ece": ece(calibration(prediction, targets, bins=bins)),
        "ece_mass": ece(binned(confidence, right, equal_mass(confidence, checked(bins)))),
        "aurc": _aurc(entropy, 1 - right),
        "coverage_at_5": _coverage(entropy, 1 - right, 0.05),
    }


def coverage_at(prediction: Prediction, targets: Tensor, risk: float) -> float:
    """Return the share of examples, the most certain first, that can be answered at some risk.

    Examples of equal entropy are answered together or not at all.

    Args:
        prediction: What `predict` returned, of classes.
        targets: Class numbers (B, ...).
        risk: The error rate that is borne among those that are answered, in [0, 1].

    Raises:
        ArgumentError: If it is no prediction of classes, the targets do not fit it, or the risk is
            impossible.

    Source:
        Geifman and El-Yaniv (2017), Selective Classification for Deep Neural Networks.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
        >>> entropy = -torch.special.xlogy(p, p).sum(1)
        >>> found = Prediction("classification", 2, p, {"entropy": entropy}, {}, {})
        >>> round(coverage_at(found, torch.tensor([0, 0, 1]), risk=0.1), 3)
        0.667
    """
    if prediction.task == "regression":
        raise ArgumentError("coverage_at: expected a prediction of classes, got a regression")
    borne = real(risk)
    if borne is None or not 0 <= borne <= 1:
        raise ArgumentError(f"risk: expected a number from 0 to 1, got {quote(risk)}")
    p, y = flat(prediction.mean, targets)
    return _coverage(prediction["entropy"].flatten(), (p.argmax(1) != y).double(), borne)


def separation(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """Return how well a measure tells other data from the data that a model was made for.

    Args:
        inside: The measure, entropy or mutual information for example, on data of the kind that
            the model was trained on.
        outside: The same on other data, where it should be larger.

    Returns:
        `auroc`, `aupr` (other data as the positives) and `fpr95`: the share of the model's own
        data that is taken for other data where 95 % of that is found.

    Raises:
        ArgumentError: If one of both is empty, or has something that is no number.

    Example:
        >>> separation(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5]))
        {'auroc': 1.0, 'aupr': 1.0, 'fpr95': 0.0}
    """
    own, other = (numbers(x, "separation").flatten().double() for x in (inside, outside))
    if not len(own) or not len(other):
        raise ArgumentError("separation: expected numbers on both kinds of data, got none on one")
    values, places = torch.cat((own, other)).unique(return_inverse=True)
    counts = torch.zeros(2, len(values), dtype=torch.float64)
    for row, part in zip(counts, (places[: len(own)], places[len(own) :]), strict=True):
        row += torch.bincount(part, minlength=len(values))
    # from the largest value down: what is found, and what is taken for it
    taken, found = counts.flip(1).cumsum(1)
    recall, false = found / len(other), taken / len(own)
    zero = torch.zeros(1, dtype=torch.float64)
    auroc = torch.trapezoid(torch.cat((zero, recall)), torch.cat((zero, false)))
    steps = torch.diff(torch.cat((zero, recall)))
    aupr = (steps * found / (found + taken)).sum()
    return {
        "auroc": float(auroc),
        "aupr": float(aupr),
        "fpr95": float(false[int((recall < 0.95).sum())]),
    }


def _of_values(prediction: Prediction, y: Tensor) -> dict[str, float]:
    variance = prediction["total"]
    sigma = variance.sqrt()
    z = (y - prediction.mean) / sigma
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    crps = sigma * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    crps = torch.where(variance == 0, (y - prediction.mean).abs(), crps)
    found = {
        "rmse": float((y - prediction.mean).square().mean().sqrt()),
        "nll": float(((2 * math.pi * variance).log() / 2 + z.square() / 2).mean()),
        "crps": float(crps.mean()),
    }
    ends = [prediction.quantiles.get(q) for q in (0.025, 0.975)]
    if ends[0] is not None and ends[1] is not None:
        found["coverage_95"] = float(((y >= ends[0]) & (y <= ends[1])).double().mean())
    return found


def _aurc(uncertainty: Tensor, wrong: Tensor) -> float:
    """Return the mean over coverages of the error rate among the most certain examples."""
    order = uncertainty.argsort(stable=True)
    risk = wrong[order].cumsum(0) / torch.arange(1, len(order) + 1, dtype=torch.float64)
    return float(risk.mean())


def _coverage(uncertainty: Tensor, wrong: Tensor, risk: float) -> float:
    values, places = uncertainty.unique(return_inverse=True)
    count = torch.bincount(places, minlength=len(values)).cumsum(0)
    errors = torch.zeros(len(values), dtype=wrong.dtype).index_add_(0, places, wrong).cumsum(0)
    borne = count[errors <= risk * count]
    return float(borne.max() / len(wrong)) if len(borne) else 0.0
