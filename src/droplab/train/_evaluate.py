"""Scores of a model over a whole split, in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from droplab.train._meter import Meter, Score

EVAL_BATCH = 2000
"""Examples per forward pass unless a plan says otherwise: what the plans of old runs mean."""


class Batches(Protocol):
    """What the engine needs of a split: its length, and its examples in a given order."""

    def __len__(self) -> int: ...

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) for `order` in groups of `batch_size`, the last one shorter."""
        ...


class OnDevice:
    """The batches of a split, each moved to a device.

    Args:
        split: Where they come from.
        device: Where they go.
    """

    def __init__(self, split: Batches, device: str) -> None:
        self._split = split
        self._device = device

    def __len__(self) -> int:
        return len(self._split)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) on the device."""
        for inputs, targets in self._split.batches(order, batch_size):
            yield inputs.to(self._device), targets.to(self._device)


def evaluate(
    model: nn.Module,
    split: Batches,
    order: Tensor | None = None,
    *,
    batch_size: int = EVAL_BATCH,
) -> Score:
    """Return loss, accuracy and calibration error of `model` on a split, in eval mode.

    The model's training flags are given back afterwards, module by module.

    Args:
        model: Maps (B, ...) inputs to logits of shape (B, C).
        split: The examples.
        order: int64 (M,), which of them; None: all.
        batch_size: Examples that go through the model together.

    Returns:
        The `Score` over these examples.
    """
    order = torch.arange(len(split)) if order is None else order
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    meter = Meter()
    try:
        with torch.inference_mode():
            for inputs, targets in split.batches(order, batch_size):
                meter.add(model(inputs), targets)
    finally:
        for module, flag in flags:
            module.training = flag
    return meter.score()
