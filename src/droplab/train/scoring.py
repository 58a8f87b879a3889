"""Scores over a whole split, in eval mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from droplab.data import Inputs
from droplab.data.tree import moved
from droplab.train.calling import call
from droplab.train.tasks import CLASSIFICATION, Meter, Score, Task

EVAL_BATCH = 2000
"""Examples per forward pass unless a plan says otherwise: what the plans of old runs mean."""


class Batches(Protocol):
    """What the engine needs of a split: its length, and its examples in a given order."""

    def __len__(self) -> int: ...

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield (inputs, targets) for `order` in groups of `batch_size`, the last one shorter."""
        ...


def evaluate(
    model: nn.Module,
    split: Batches,
    order: Tensor | None = None,
    *,
    batch_size: int = EVAL_BATCH,
    task: Task = CLASSIFICATION,
) -> Score:
    """Return what a task measures of `model` on a split, in eval mode.

    The model's training flags are given back afterwards, module by module.

    Args:
        model: Maps (B, ...) inputs to outputs of shape (B, ...), for classes to logits (B, C).
            Several inputs are given to it as its forward takes them.
        split: The examples.
        order: int64 (M,), which of them; None: all.
        batch_size: Examples that go through the model together.
        task: What is measured.

    Returns:
        The `Score` over these examples.
    """
    with evaluating(model), torch.inference_mode():
        outputs = partial(_of_one, model)
        meter = task.meter()
        measure(outputs, split, meter, order, batch_size=batch_size, fully=True)
        return meter.scores()[0]


def _of_one(model: nn.Module, inputs: Inputs) -> Tensor:
    return call(model, inputs)[None]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and give back after which of its modules trained."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def measure(
    forward: Callable[[Inputs], Tensor],
    split: Batches,
    meter: Meter,
    order: Tensor | None = None,
    *,
    batch_size: int,
    device: torch.device | None = None,
    fully: bool = False,
) -> None:
    """Let `meter` see the outputs for a split.

    Args:
        forward: Maps (B, ...) inputs to outputs (K, B, ...).
        split: The examples.
        meter: A new one, of K members.
        order: int64 (M,), which examples; None: all.
        batch_size: Examples of a forward pass.
        device: Where inputs and targets are wanted; None: where they are.
        fully: Whether the further metrics of the task are measured too.
    """
    order = torch.arange(len(split)) if order is None else order
    for inputs, targets in split.batches(order, batch_size):
        logits = forward(moved(inputs, device))
        with torch.inference_mode():
            meter.take(logits, targets.to(device), keep=fully)
