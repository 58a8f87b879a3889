"""How models of each task predict, by a plain pass and by many, and what is measured of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from droplab.data import Split, to_float
from droplab.errors import ArgumentError
from droplab.placement import inner
from droplab.train.calling import call
from droplab.train.scoring import evaluating
from droplab.uncertainty import (
    Prediction,
    calibration_by_chance,
    fit_noise,
    fit_temperature,
    noisy,
    predict,
    score,
    tempered,
)
from droplab.uncertainty.outputs import logits_of, one_tensor

PLAIN, AVERAGED = "plain", "Monte Carlo"

LEVELS = tuple(level / 20 for level in range(1, 20))
"""Levels of the calibration curve of values."""
_ENDS = (0.025, 0.975)
_BLOCK = 256


class Predicted(Protocol):
    """What is asked of the predictions of a task."""

    @property
    def task(self) -> str:
        """What the models predict."""
        ...

    @property
    def judged(self) -> Mapping[str, Literal["lower", "higher"]]:
        """Scores by which Monte Carlo is compared with plain, and what is better."""
        ...

    @property
    def scores(self) -> Sequence[str]:
        """All scores that are shown."""
        ...

    def plain(self, model: nn.Module, split: Split) -> Prediction:
        """Return the prediction of one pass in eval mode."""
        ...

    def many(
        self, model: nn.Module, split: Split, passes: int, seed: int, progress: Any = None
    ) -> Prediction:
        """Return the prediction of many passes with dropout; `progress` as `predict` has it."""
        ...

    def fitted(self, prediction: Prediction, targets: Tensor) -> Prediction:
        """Return a prediction with what targets have to tell of it before it can be scored."""
        ...

    def together(self, found: Sequence[Prediction]) -> Prediction:
        """Return the predictions of several models as one, to be fitted."""
        ...

    def by_chance(self, prediction: Prediction) -> float | None:
        """Return the calibration error that chance gives, if there is such a thing."""
        ...

    def calibrated(self, both: Mapping[str, Prediction], targets: Tensor) -> dict[str, Prediction]:
        """Return the predictions whose calibration is drawn, by their names."""
        ...

    def unsure(self, prediction: Prediction) -> Tensor:
        """Return how unsure the prediction of each example is, (B,)."""
        ...

    def losses(self, prediction: Prediction, targets: Tensor) -> Tensor:
        """Return what is wrong about each example, (B,), whose mean `risk` is made of."""
        ...

    def risk(self, mean: Tensor) -> Tensor:
        """Return the risk that mean losses are."""
        ...

    def apart(self, both: Mapping[str, Prediction]) -> dict[str, Tensor]:
        """Return the measures that may tell other data from the model's own."""
        ...

    def told(self, prediction: Prediction, targets: Tensor | None, at: int) -> tuple[str, str]:
        """Return the target of an example, if there are any, and its prediction in words."""
        ...


def certain(mean: Tensor, task: Any) -> Prediction:
    """Return probabilities as a prediction of one pass."""
    return Prediction(task, 1, mean, {"entropy": -torch.special.xlogy(mean, mean).sum(1)}, {}, {})


class Classes:
    """Predictions of a classifier, of several logits or of one.

    Args:
        task: Which of both.
        classes: What the classes are called, empty where they have numbers.
    """

    judged: Mapping[str, Literal["lower", "higher"]] = {
        "nll": "lower",
        "accuracy": "higher",
        "brier": "lower",
        "ece": "lower",
        "aurc": "lower",
        "coverage_at_5": "higher",
    }
    scores = tuple(judged)

    def __init__(
        self, task: Literal["classification", "binary"], classes: tuple[str, ...] = ()
    ) -> None:
        self.task: Literal["classification", "binary"] = task
        self._classes = classes

    def plain(self, model: nn.Module, split: Split) -> Prediction:
        logits = _outputs(model, split)
        if self.task == "classification":
            return certain(logits.softmax(1), self.task)
        flat = logits.squeeze(1) if logits.dim() == 2 else logits
        both = torch.stack((torch.sigmoid(-flat), torch.sigmoid(flat)), dim=1)
        return certain(both, self.task)

    def many(
        self, model: nn.Module, split: Split, passes: int, seed: int, progress: Any = None
    ) -> Prediction:
        inputs = to_float(split.inputs)
        return predict(model, inputs, passes, seed=seed, task=self.task, progress=progress)

    def fitted(self, prediction: Prediction, targets: Tensor) -> Prediction:
        return prediction

    def together(self, found: Sequence[Prediction]) -> Prediction:
        return certain(torch.stack([one.mean for one in found]).mean(0), self.task)

    def by_chance(self, prediction: Prediction) -> float | None:
        return calibration_by_chance(prediction)

    def calibrated(self, both: Mapping[str, Prediction], targets: Tensor) -> dict[str, Prediction]:
        return {
            **{way: certain(each.mean, self.task) for way, each in both.items()},
            **{f"{way}, tempered": self._tempered(p.mean, targets) for way, p in both.items()},
        }

    def _tempered(self, mean: Tensor, targets: Tensor) -> Prediction:
        """Return probabilities at the temperature that the other half of the examples gives."""
        found = torch.empty_like(mean)
        for half in (0, 1):
            fitted = certain(mean[half::2], self.task)
            temperature = fit_temperature(fitted, targets.reshape(-1)[half::2])
            found[1 - half :: 2] = tempered(mean[1 - half :: 2], temperature)
        return certain(found, self.task)

    def unsure(self, prediction: Prediction) -> Tensor:
        return certain(prediction.mean, self.task)["entropy"]

    def losses(self, prediction: Prediction, targets: Tensor) -> Tensor:
        return (prediction.mean.argmax(1) != targets.reshape(-1)).double()

    def risk(self, mean: Tensor) -> Tensor:
        return mean

    def apart(self, both: Mapping[str, Prediction]) -> dict[str, Tensor]:
        found = {f"entropy, {way}": each["entropy"] for way, each in both.items()}
        return {**found, "mutual information": both[AVERAGED]["mutual_information"]}

    def told(self, prediction: Prediction, targets: Tensor | None, at: int) -> tuple[str, str]:
        called = self._classes or [str(k) for k in range(prediction.mean.shape[1])]
        truth = "" if targets is None else called[int(targets.reshape(-1)[at])]
        return truth, called[int(prediction.mean[at].argmax())]


class Values:
    """Predictions of a regression; scored with the noise that the other half of examples gives."""

    task: Literal["regression"] = "regression"
    judged: Mapping[str, Literal["lower", "higher"]] = {
        "nll": "lower",
        "rmse": "lower",
        "crps": "lower",
    }
    scores = (*judged, "coverage_95")

    def plain(self, model: nn.Module, split: Split) -> Prediction:
        mean = _outputs(model, split)
        return _normal(mean, torch.zeros_like(mean))

    def many(
        self, model: nn.Module, split: Split, passes: int, seed: int, progress: Any = None
    ) -> Prediction:
        inputs = to_float(split.inputs)
        how: Any = {"task": self.task, "quantiles": (), "progress": progress}
        return predict(model, inputs, passes, seed=seed, **how)

    def fitted(self, prediction: Prediction, targets: Tensor) -> Prediction:
        """Return it with noise, which each output has of its own, and with quantiles.

        Raises:
            ArgumentError: If the targets do not fit it, or it is of fewer than two examples.
        """
        mean, count = prediction.mean, len(prediction.mean)
        if count < 2:
            raise ArgumentError(
                f"expected at least 2 examples, one half of which tells the noise of the other, "
                f"got {count}"
            )
        score(noisy(prediction, 1.0), targets)  # refuses targets of another shape
        means, spreads, noise = (
            x.reshape(count, -1) for x in (mean, prediction["variance"], torch.zeros_like(mean))
        )
        told = targets.reshape(count, -1)
        for half, output in itertools.product((0, 1), range(means.shape[1])):
            part = _normal(means[half::2, output], spreads[half::2, output])
            noise[1 - half :: 2, output] = fit_noise(part, told[half::2, output])
        return noisy(prediction, noise.reshape(mean.shape), (*_ENDS, *LEVELS))

    def together(self, found: Sequence[Prediction]) -> Prediction:
        means = torch.stack([one.mean for one in found])
        variance = torch.stack([one["variance"] for one in found]).mean(0)
        own = means.var(0, correction=0)  # what the models disagree about
        return _normal(means.mean(0), variance + own)

    def by_chance(self, prediction: Prediction) -> float | None:
        return None

    def calibrated(self, both: Mapping[str, Prediction], targets: Tensor) -> dict[str, Prediction]:
        return {
            way: replace(each, quantiles={q: each.quantiles[q] for q in LEVELS})
            for way, each in both.items()
        }

    def unsure(self, prediction: Prediction) -> Tensor:
        total = prediction["total"]
        return total.reshape(len(total), -1).mean(1).sqrt()

    def losses(self, prediction: Prediction, targets: Tensor) -> Tensor:
        mean = prediction.mean
        return (targets.reshape(mean.shape) - mean).square().reshape(len(mean), -1).mean(1)

    def risk(self, mean: Tensor) -> Tensor:
        return mean.sqrt()

    def apart(self, both: Mapping[str, Prediction]) -> dict[str, Tensor]:
        spread = both[AVERAGED]["variance"]
        return {"variance of the passes": spread.reshape(len(spread), -1).mean(1)}

    def told(self, prediction: Prediction, targets: Tensor | None, at: int) -> tuple[str, str]:
        known = [] if targets is None else targets[at].reshape(-1).tolist()
        guess = prediction.mean[at].reshape(-1).tolist()
        truths, guesses = (", ".join(f"{x:.4g}" for x in each) for each in (known, guess))
        return truths, guesses


def predicted(task: str | None, classes: tuple[str, ...]) -> Predicted | None:
    """Return what predicts in a task; None if nothing does."""
    if task is None or task == "classification":
        return Classes("classification", classes)
    known: dict[str, Callable[[], Predicted]] = {
        "binary": lambda: Classes("binary", classes),
        "regression": Values,
    }
    return known[task]() if task in known else None


def _outputs(model: nn.Module, split: Split) -> Tensor:
    parts: list[Tensor] = []
    with evaluating(model), torch.no_grad():
        for inputs, _ in split.batches(torch.arange(len(split)), _BLOCK):
            parts.append(one_tensor(logits_of(call(inner(model), inputs))))
    return torch.cat(parts)


def _normal(mean: Tensor, variance: Tensor) -> Prediction:
    return Prediction("regression", 1, mean, {"variance": variance, "total": variance}, {}, {})
