"""What many passes say of each input, with the error of having made no more of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError, nearest, quote
from droplab.numeric import real
from droplab.uncertainty._sample import Masks, Progress, sampled
from droplab.uncertainty.outputs import Take, logits_of, one_tensor

Task = Literal["classification", "binary", "regression"]
TASKS = ("classification", "binary", "regression")

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


@dataclass(frozen=True)
class Prediction:
    """The mean prediction of many passes, and measures of how far they scatter.

    Attributes:
        task: What the outputs are.
        passes: How many passes there were, S.
        mean: Mean over passes: of probabilities, (B, C, ...), or of values, (B, ...).
        measures: Each measure by its name, a number for every prediction, see `predict`.
        errors: Monte Carlo standard error of "mean" and of each measure: how far it would be
            elsewhere with other masks. They fall with the square root of the number of passes.
        quantiles: Of a regression, probability -> value over passes and the noise; else empty.
    """

    task: Task
    passes: int
    mean: Tensor
    measures: Mapping[str, Tensor]
    errors: Mapping[str, Tensor]
    quantiles: Mapping[float, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """Return a measure.

        Raises:
            ArgumentError: If there is none of that name.
        """
        if name not in self.measures:
            raise ArgumentError(
                f"prediction: no measure {quote(name)}{nearest(str(name), self.measures)}"
            )
        return self.measures[name]

    @property
    def passes_to_halve(self) -> int:
        """How many passes would halve every Monte Carlo error."""
        return 4 * self.passes


def predict(
    model: nn.Module,
    data: Any,
    passes: int = 50,
    *,
    seed: int,
    task: Task,
    noise: float = 0.0,
    output: Take | None = None,
    quantiles: Sequence[float] = QUANTILES,
    masks: Masks = "per-input",
    rates: Any = None,
    batch_passes: bool | Literal["auto"] = "auto",
    chunk: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> Prediction:
    r"""Return the mean over passes with dropout awake, and how far they scatter.

    Of a classifier, with the probabilities p_s of pass s: `entropy` H(mean p), `expected_entropy`
    mean H(p_s), `mutual_information` their difference, which is what the passes disagree about,
    `variation_ratio` the share of passes that vote for another class than most, and `spread`, the
    standard deviation of each class. Entropies are in nats. With S passes the mutual information
    comes out too large by a term in 1 / S.

    Of a regression: `variance` of the passes, `noise` as given, and `total`, their sum.

    Only the passes over one block of inputs are in memory at a time.

    Args:
        model: As in `sample`, and so are `data`, `passes`, `seed`, `masks`, `rates`,
            `batch_passes`, `chunk` and `progress`. At least two passes are needed.
        data: Inputs.
        passes: How many passes, S.
        seed: What masks are drawn from.
        task: "classification" for logits (B, C, ...), "binary" for one logit, (B, ...) or
            (B, 1, ...), "regression" for values.
        noise: Variance of the noise of a regression's targets, the inverse of the precision.
        output: Takes the logits or values out of what a pass returns, where that is neither one
            tensor nor has it under `logits`; and moves the axis of classes, where that is not the
            second: `lambda out: out.logits.movedim(-1, 1)` for logits (B, T, C).
        quantiles: Which quantiles of a regression, of passes with the noise as a normal
            distribution around each.
        masks: Whose masks are alike.
        rates: Where to place dropout, for a model that has none.
        batch_passes: Whether several passes are computed at once.
        chunk: How many passes times inputs are computed at once at most.
        progress: Called with how many inputs are done, and of how many, None if that is not known.

    Raises:
        ArgumentError: As in `sample`; or the task, the noise or a quantile is impossible, or the
            output does not suit the task.
        PlacementError: As in `sample`.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        >>> found = predict(model, torch.ones(6, 4), 20, seed=0, task="classification")
        >>> found.mean.shape, found["mutual_information"].shape
        (torch.Size([6, 3]), torch.Size([6]))
    """
    if task not in TASKS:
        raise ArgumentError(f"task: no task {quote(task)} here{nearest(str(task), TASKS)}")
    sigma2 = real(noise)
    if sigma2 is None or not 0 <= sigma2 < math.inf or (sigma2 and task != "regression"):
        raise ArgumentError(
            "noise: expected the variance of a regression's noise, a number of at least 0, got "
            f"{quote(noise)} for {task}"
        )
    check_quantiles(quantiles)
    if passes == 1:
        raise ArgumentError("passes: one pass has no spread; take at least 2, 50 is usual")
    parts: list[Prediction] = []
    how = masks, rates, batch_passes, chunk, progress, output or logits_of
    for found, _ in sampled(model, data, passes, seed, *how):
        values = one_tensor(found)
        if task == "regression":
            parts.append(_values(values, float(sigma2), quantiles))
        else:
            parts.append(_classes(_probabilities(values, task), task))
    return joined(parts)


def check_quantiles(quantiles: Any) -> None:
    if not isinstance(quantiles, Sequence):
        raise ArgumentError(
            f"quantiles: expected a list of numbers between 0 and 1, got {quote(quantiles)}"
        )
    for each in quantiles:
        if (number := real(each)) is None or not 0 < number < 1:
            raise ArgumentError(f"quantiles: expected numbers between 0 and 1, got {quote(each)}")


def _probabilities(logits: Tensor, task: Task) -> Tensor:
    if task == "binary":
        flat = logits.squeeze(2) if logits.dim() > 2 else logits
        return torch.stack((torch.sigmoid(-flat), torch.sigmoid(flat)), dim=2)
    if logits.dim() < 3 or logits.shape[2] < 2:
        raise ArgumentError(
            f"predict: expected logits (B, C, ...) of at least two classes, got shape "
            f"{tuple(logits.shape[1:])}; one logit is task = 'binary'"
        )
    return logits.softmax(dim=2)


def _entropy(p: Tensor, dim: int) -> Tensor:
    return -torch.special.xlogy(p, p).sum(dim)


def _classes(p: Tensor, task: Task) -> Prediction:
    """Return what passes say of classes, from probabilities (S, B, C, ...)."""
    count = len(p)
    mean, spread = p.mean(0), p.std(0)
    each = _entropy(p, 2)
    entropy, expected = _entropy(mean, 1), each.mean(0)
    votes = torch.zeros_like(p).scatter_(2, p.argmax(2, keepdim=True), 1.0).mean(0)
    ratio = 1 - votes.amax(1)
    # the entropy of the mean, linear around it: what one pass contributes
    part = -torch.special.xlogy(p, mean).sum(2)
    measures = {
        "entropy": entropy,
        "expected_entropy": expected,
        "mutual_information": (entropy - expected).clamp(min=0),
        "variation_ratio": ratio,
        "spread": spread,
    }
    errors = {
        "mean": spread / math.sqrt(count),
        "entropy": part.std(0) / math.sqrt(count),
        "expected_entropy": each.std(0) / math.sqrt(count),
        "mutual_information": (part - each).std(0) / math.sqrt(count),
        "variation_ratio": (ratio * (1 - ratio) / count).sqrt(),
        "spread": _error_of_variance(p) / (2 * spread).clamp(min=1e-300),
    }
    return Prediction(task, count, mean, measures, errors, {})


def _values(y: Tensor, noise: float, quantiles: Sequence[float]) -> Prediction:
    """Return what passes say of values (S, B, ...)."""
    variance = y.var(0)
    error = _error_of_variance(y)
    measures = {
        "variance": variance,
        "noise": torch.full_like(variance, noise),
        "total": variance + noise,
    }
    errors = {
        "mean": (variance / len(y)).sqrt(),
        "variance": error,
        "noise": torch.zeros_like(variance),
        "total": error,
    }
    found = {float(q): _quantile(y, noise, float(q)) for q in quantiles}
    return Prediction("regression", len(y), y.mean(0), measures, errors, found)


def _error_of_variance(x: Tensor) -> Tensor:
    """Return the standard error of the variance over the first axis."""
    count = len(x)
    fourth = (x - x.mean(0)).pow(4).mean(0)
    square = x.var(0).pow(2)
    return ((fourth - square * (count - 3) / (count - 1)) / count).clamp(min=0).sqrt()


def _quantile(y: Tensor, noise: float, q: float) -> Tensor:
    """Return a quantile over passes; with noise, of the mixture of normal distributions."""
    if not noise:
        return y.quantile(q, dim=0)
    sigma = math.sqrt(noise)
    reach = sigma * float(torch.special.ndtri(torch.tensor(max(q, 1 - q), dtype=torch.float64)))
    low, high = y.amin(0) - reach, y.amax(0) + reach
    for _ in range(60):  # bisection: the interval shrinks below any rounding
        middle = (low + high) / 2
        below = torch.special.ndtr((middle - y) / sigma).mean(0) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Return predictions of examples one after the other as one.

    Example:
        >>> one = Prediction("binary", 2, torch.zeros(3, 2), {}, {}, {})
        >>> joined([one, one]).mean.shape
        torch.Size([6, 2])
    """
    first = parts[0]

    def all_of(name: str) -> dict[Any, Tensor]:
        tables = [getattr(part, name) for part in parts]
        return {key: torch.cat([table[key] for table in tables]) for key in tables[0]}

    return Prediction(
        first.task,
        first.passes,
        torch.cat([part.mean for part in parts]),
        all_of("measures"),
        all_of("errors"),
        all_of("quantiles"),
    )
