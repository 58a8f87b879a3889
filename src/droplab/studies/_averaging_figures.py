"""What the page on many passes draws, beyond their scores."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from droplab.data import AnySplit, Split, load, load_inputs, names
from droplab.errors import ArgumentError, quote
from droplab.recipe import DataSpec
from droplab.report import Example
from droplab.studies._predicted import AVERAGED, PLAIN, Predicted
from droplab.uncertainty import Prediction, calibration, joined, score, separation

_SHARES = 20
"""Shares of the examples at which the risk is shown."""
_SHOWN = 8
"""Examples that are shown, of the least and of the most certain."""


class Pages:
    """Collects what each seed's model adds to the figures.

    Args:
        own: The examples that models are scored on; each seed's own are of this shape.
        by: How models of the task predict.
        shared: Whether all seeds are scored on the same examples.
        passes: How many passes.
        labelled: Whether the examples have targets.
    """

    def __init__(
        self, own: AnySplit, by: Predicted, passes: int, *, shared: bool, labelled: bool
    ) -> None:
        self._own, self._by, self._shared, self._passes = own, by, shared, passes
        self._labelled = labelled
        self._fewer = sorted({s for s in (2, 5, 10, 20, 50, 100, 200, 500) if s < passes})
        self._curves: list[list[float]] = []
        self._found: dict[str, list[Prediction]] = {}
        self._calibrated: dict[str, list[Prediction]] = {}
        self._targets: list[Tensor] = []
        """Those of each seed; none where there are none."""
        self._inputs: Any = None
        self._apart: dict[str, list[dict[str, float]]] = {}

    def add(
        self, model: nn.Module, seed: int, split: Split, both: Mapping[str, Prediction]
    ) -> None:
        """Take in a seed's model with its two predictions, the plain one first."""
        self._inputs = split.inputs
        for way, each in both.items():
            self._found.setdefault(way, []).append(each)
        if not self._labelled:
            return
        tried = [both[PLAIN]]
        for passes in self._fewer:
            found = self._by.many(model, split, passes, seed)
            tried.append(self._by.fitted(found, split.targets))
        tried.append(both[AVERAGED])
        self._curves.append([score(each, split.targets)["nll"] for each in tried])
        self._targets.append(split.targets)
        for way, each in self._by.calibrated(both, split.targets).items():
            self._calibrated.setdefault(way, []).append(each)

    def outside(self, path: str) -> Split:
        """Return examples of other data: of its test split if it has one, as many as are scored.

        Args:
            path: A known data set, or files as `data.path` of a recipe names them.

        Raises:
            DataError: If they cannot be read.
            ArgumentError: If they are streamed, or of another shape than the model's own;
                an axis of one, as that of grey images, may be missing.
        """
        own = self._own
        other = None if path in names() else load_inputs(path)
        if other is None:
            data = load(path if path in names() else DataSpec(path=path))
            other = data.train if data.test is None else data.test
        if not isinstance(other, Split) or not isinstance(own, Split):
            raise ArgumentError(f"other data: expected examples in memory, got {quote(path)}")
        shapes = [getattr(x.inputs, "shape", (None,))[1:] for x in (own, other)]
        alike = [[size for size in shape if size != 1] for shape in shapes]
        if alike[0] != alike[1]:
            raise ArgumentError(
                f"other data: expected examples of shape {tuple(shapes[0])}, as the model's own, "
                f"got {tuple(shapes[1])} in {quote(path)}"
            )
        found = other.subset(0, min(len(other), len(own)))
        if shapes[0] == shapes[1] or not isinstance(found.inputs, Tensor):
            return found
        # grey images without an axis for their one channel, beside some that have it
        return Split(found.inputs.reshape(-1, *shapes[0]), found.targets)

    def tell_apart(
        self, model: nn.Module, seed: int, outside: Split, both: Mapping[str, Prediction]
    ) -> None:
        """Measure how well a seed's model tells other data from its own."""
        there = {
            PLAIN: self._by.plain(model, outside),
            AVERAGED: self._by.many(model, outside, self._passes, seed),
        }
        elsewhere = self._by.apart(there)
        for name, inside in self._by.apart(both).items():
            self._apart.setdefault(name, []).append(separation(inside, elsewhere[name]))

    def drawn(self) -> dict[str, Any]:
        """Return the fields of `Averaging` that were measured."""
        found: dict[str, Any] = {}
        if self._apart:
            found["other"] = {
                name: {key: sum(x[key] for x in each) / len(each) for key in each[0]}
                for name, each in self._apart.items()
            }
        if self._found and self._shared:
            together = self._by.together(self._found[AVERAGED])
            if self._targets:
                together = self._by.fitted(together, self._targets[0])
            found["extremes"] = self._extremes(together)
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
                for each in calibration(joined(parts), targets)
            ]
            for way, parts in self._calibrated.items()
        }
        found["risk"] = {
            way: self._risk(each)
            for way, each in self._found.items()
            if any(self._by.unsure(one).unique().numel() > 2 for one in each)
        }
        return found

    def _risk(self, found: Sequence[Prediction]) -> list[tuple[float, float]]:
        """Return (share, risk of the most certain), mean over seeds."""
        rates: list[Tensor] = []
        for each, targets in zip(found, self._targets, strict=True):
            losses = self._by.losses(each, targets)
            order = self._by.unsure(each).argsort(stable=True)
            part = torch.arange(1, _SHARES + 1) * len(order) // _SHARES
            part = part.clamp(min=1)
            rates.append(self._by.risk(losses[order].cumsum(0)[part - 1] / part))
        values = torch.stack(rates).mean(0).tolist()
        return [((at + 1) / _SHARES, value) for at, value in enumerate(values)]

    def _extremes(self, found: Prediction) -> dict[str, list[Example]]:
        unsure, targets = self._by.unsure(found), self._targets[0] if self._targets else None
        order = unsure.argsort(descending=True, stable=True).tolist()

        def shown(places: Sequence[int]) -> list[Example]:
            return [
                Example(
                    at,
                    float(unsure[at]),
                    *self._by.told(found, targets, at),
                    self._png(at),
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
