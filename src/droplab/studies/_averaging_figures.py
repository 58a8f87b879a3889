"""What the page on many passes draws, beyond their scores."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from droplab.data import AnySplit, Split, load, names, to_float
from droplab.errors import ArgumentError, quote
from droplab.recipe import DataSpec
from droplab.report import Example
from droplab.uncertainty import (
    Prediction,
    calibration,
    fit_temperature,
    predict,
    score,
    separation,
    tempered,
)

Plain = Callable[[nn.Module, Split, Any], Prediction]

_SHARES = 20
"""Shares of the examples at which the risk is shown."""
_SHOWN = 8
"""Examples that are shown, of the least and of the most certain."""


def certain(mean: Tensor, task: Any) -> Prediction:
    """Return probabilities as a prediction of one pass."""
    return Prediction(task, 1, mean, {"entropy": -torch.special.xlogy(mean, mean).sum(1)}, {}, {})


class Pages:
    """Collects what each seed's model adds to the figures.

    Args:
        own: The examples that models are scored on; each seed's own are of this shape.
        classes: What the classes are called, empty where they have numbers.
        shared: Whether all seeds are scored on the same examples.
        task: What the models predict.
        passes: How many passes.
        plain: Predicts by the plain pass.
    """

    def __init__(
        self,
        own: AnySplit,
        classes: Sequence[str],
        shared: bool,
        task: Literal["classification", "binary"],
        passes: int,
        plain: Plain,
    ) -> None:
        self._own, self._classes, self._shared = own, classes, shared
        self._passes, self._plain = passes, plain
        self._task: Literal["classification", "binary"] = task
        self._fewer = sorted({s for s in (2, 5, 10, 20, 50, 100, 200, 500) if s < passes})
        self._curves: list[list[float]] = []
        self._means: dict[str, list[Tensor]] = {}
        self._targets: list[Tensor] = []
        self._inputs: Any = None
        self._apart: dict[str, list[dict[str, float]]] = {}

    def add(
        self, model: nn.Module, seed: int, split: Split, both: Mapping[str, Prediction]
    ) -> None:
        """Take in a seed's model with its two predictions, the plain one first."""
        (plain, one), (averaged, many) = both.items()
        inputs, targets = to_float(split.inputs), split.targets.reshape(-1)
        losses = [score(one, split.targets)["nll"]]
        for fewer in self._fewer:
            found = predict(model, inputs, fewer, seed=seed, task=self._task)
            losses.append(score(found, split.targets)["nll"])
        self._curves.append([*losses, score(many, split.targets)["nll"]])
        self._targets.append(targets)
        self._inputs = split.inputs
        for way, mean in (
            (plain, one.mean),
            (averaged, many.mean),
            (f"{plain}, tempered", self._tempered(one.mean, targets)),
            (f"{averaged}, tempered", self._tempered(many.mean, targets)),
        ):
            self._means.setdefault(way, []).append(mean)

    def _tempered(self, mean: Tensor, targets: Tensor) -> Tensor:
        """Return probabilities at the temperature that the other half of the examples gives."""
        found = torch.empty_like(mean)
        for half in (0, 1):
            fitted = certain(mean[half::2], self._task)
            temperature = fit_temperature(fitted, targets[half::2])
            found[1 - half :: 2] = tempered(mean[1 - half :: 2], temperature)
        return found

    def outside(self, path: str) -> Split:
        """Return examples of other data: of its test split if it has one, as many as are scored.

        Args:
            path: A known data set, or files as `data.path` of a recipe names them.

        Raises:
            DataError: If they cannot be read.
            ArgumentError: If they are streamed, or of another shape than the model's own.
        """
        own = self._own
        data = load(path if path in names() else DataSpec(path=path))
        other = data.train if data.test is None else data.test
        if not isinstance(other, Split) or not isinstance(own, Split):
            raise ArgumentError(f"other data: expected examples in memory, got {quote(path)}")
        shapes = [getattr(x.inputs, "shape", (None,))[1:] for x in (own, other)]
        if shapes[0] != shapes[1]:
            raise ArgumentError(
                f"other data: expected examples of shape {tuple(shapes[0])}, as the model's own, "
                f"got {tuple(shapes[1])} in {quote(path)}"
            )
        return other.subset(0, min(len(other), len(own)))

    def tell_apart(
        self, model: nn.Module, seed: int, outside: Split, both: Mapping[str, Prediction]
    ) -> None:
        """Measure how well a seed's model tells other data from its own."""
        (plain, one), (averaged, many) = both.items()
        there = self._plain(model, outside, self._task)
        inputs = to_float(outside.inputs)
        passes = predict(model, inputs, self._passes, seed=seed, task=self._task)
        for name, inside, other in (
            (f"entropy, {plain}", one["entropy"], there["entropy"]),
            (f"entropy, {averaged}", many["entropy"], passes["entropy"]),
            ("mutual information", many["mutual_information"], passes["mutual_information"]),
        ):
            self._apart.setdefault(name, []).append(separation(inside, other))

    def drawn(self) -> dict[str, Any]:
        """Return the fields of `Averaging` that were measured."""
        found: dict[str, Any] = {}
        if self._apart:
            found["other"] = {
                name: {key: sum(x[key] for x in each) / len(each) for key in each[0]}
                for name, each in self._apart.items()
            }
        if not self._curves:
            return found
        losses = torch.tensor(self._curves, dtype=torch.float64)  # (seeds, plain and passes)
        spread = (losses[:, 1:] - losses[:, :1]).std(0) if len(losses) > 1 else losses[0, 1:] * 0
        errors = spread / math.sqrt(len(losses))
        means = losses.mean(0).tolist()
        steps = [*self._fewer, self._passes]
        found["plain"] = means[0]
        found["curve"] = tuple(zip(steps, means[1:], errors.tolist(), strict=True))
        targets = torch.cat(self._targets)
        found["reliability"] = {
            way: [
                (each.confidence, each.accuracy, each.count)
                for each in calibration(certain(torch.cat(means), self._task), targets)
            ]
            for way, means in self._means.items()
        }
        ways = list(self._means)[:2]
        found["risk"] = {way: self._risk(self._means[way]) for way in ways}
        if self._shared:
            found["extremes"] = self._extremes(torch.stack(self._means[ways[1]]).mean(0))
        return found

    def _risk(self, means: Sequence[Tensor]) -> list[tuple[float, float]]:
        """Return (share, error rate among the most certain), mean over seeds."""
        rates: list[Tensor] = []
        for mean, targets in zip(means, self._targets, strict=True):
            wrong = (mean.argmax(1) != targets).double()
            order = certain(mean, self._task)["entropy"].argsort(stable=True)
            part = torch.arange(1, _SHARES + 1) * len(order) // _SHARES
            part = part.clamp(min=1)
            rates.append(wrong[order].cumsum(0)[part - 1] / part)
        values = torch.stack(rates).mean(0).tolist()
        return [((at + 1) / _SHARES, value) for at, value in enumerate(values)]

    def _extremes(self, mean: Tensor) -> dict[str, list[Example]]:
        entropy = certain(mean, self._task)["entropy"]
        order = entropy.argsort(descending=True, stable=True).tolist()
        called = self._classes or [str(at) for at in range(mean.shape[1])]
        guesses: list[int] = mean.argmax(1).tolist()
        targets: list[int] = self._targets[0].long().tolist()

        def shown(places: Sequence[int]) -> list[Example]:
            return [
                Example(
                    at, float(entropy[at]), called[targets[at]], called[guesses[at]], self._png(at)
                )
                for at in places
            ]

        return {
            "The least certain examples": shown(order[:_SHOWN]),
            "The most certain examples": shown(order[::-1][:_SHOWN]),
        }

    def _png(self, at: int) -> bytes:
        """Return an example as a picture; empty for what is none."""
        if not isinstance(self._inputs, Tensor):
            return b""
        x = self._inputs[at]
        if x.dim() == 3 and x.shape[0] in (1, 3):
            x = x[0] if x.shape[0] == 1 else x.movedim(0, -1)
        if x.dim() < 2 or min(x.shape[:2]) < 4 or (x.dim() == 3 and x.shape[2] != 3):
            return b""
        if x.dtype != torch.uint8:
            low, high = x.min(), x.max()
            x = ((x - low) / (high - low).clamp(min=1e-12) * 255).to(torch.uint8)
        target = io.BytesIO()
        Image.fromarray(x.contiguous().numpy()).save(target, "PNG")
        return target.getvalue()
