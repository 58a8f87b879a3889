"""A training loop that was watched, and what the checks may ask about it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise

import torch
from torch import nn

from droplab.doctor.live._events import Drop
from droplab.doctor.live._timeline import OrderDraw, Pass
from droplab.doctor.live._witness import Witness


class Loop(Witness):
    """The passes, steps and orders of a loop.

    Args:
        ranks: Whether the masks of all ranks are to be compared.
    """

    way = "watching"

    def __init__(self, ranks: bool) -> None:
        self.passes: list[Pass] = []
        self.variables: dict[nn.Module, str] = {}
        self.steps = 0
        self.orders: list[OrderDraw] = []
        self.called: set[nn.Module] = set()
        self.ranks = ranks

    @property
    def roots(self) -> list[nn.Module]:
        """The models that ran, in the order of their first call."""
        return list(dict.fromkeys(item.root for item in self.passes))

    def of(self, root: nn.Module) -> list[Pass]:
        """Return the passes of a model."""
        return [item for item in self.passes if item.root is root]

    def trained(self, root: nn.Module) -> list[Pass]:
        """Return the passes of a model that it was trained on."""
        return [item for item in self.of(root) if item.trained]

    def name(self, module: nn.Module | None) -> str:
        """Return the path of a module in the model it belongs to, or ""."""
        for root in self.roots:
            for name, item in root.named_modules():
                if item is module:
                    return name
        return ""

    def variable(self, root: nn.Module) -> str:
        """Return by which name the loop has a model; "model" where that is not known."""
        return self.variables.get(root) or "model"

    def grouped(self, passes: Iterable[Pass]) -> dict[object, list[list[Drop]]]:
        """Return the calls of each dropout, pass by pass."""
        found: dict[object, list[list[Drop]]] = {}
        for item in passes:
            mine: dict[object, list[Drop]] = {}
            for drop in item.drops:
                mine.setdefault(drop.key, []).append(drop)
            for key, drops in mine.items():
                found.setdefault(key, []).append(drops)
        return found

    def samples(self, root: nn.Module) -> set[Pass]:
        """Return the untrained passes with the same input as the one before or after: samples."""
        found: set[Pass] = set()
        passes = self.of(root)
        for trained, group in groupby(passes, key=lambda item: item.trained):
            run = list(group)
            if trained:
                continue
            for a, b in pairwise(run):
                if _same_input(a, b):
                    found |= {a, b}
        return found

    def validations(self, root: nn.Module, *, grad: bool) -> list[Pass]:
        """Return untrained passes with dropout on that are no samples; none if none was trained."""
        if not self.trained(root):
            return []
        sampled = self.samples(root)
        return [
            item
            for item in self.of(root)
            if not item.trained
            and item.training
            and item.grad is grad
            and item not in sampled
            and (item.drops_on or item.norm_trains)
        ]


def _same_input(a: Pass, b: Pass) -> bool:
    if a.given is None or b.given is None or a.given.shape != b.given.shape:
        return False
    return a.given is b.given or torch.equal(a.given, b.given)
