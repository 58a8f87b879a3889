"""The batched executor of the training step: one step of all replicas at once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from droplab.data import Inputs
from droplab.data.tree import shape_of
from droplab.train._population import Population
from droplab.train._record import record
from droplab.train._scheduler import frozen_settings
from droplab.train._step import gradients_of, trained_parameters
from droplab.train.capture import can_record
from droplab.train.optimizers import join_counters
from droplab.train.tasks import CLASSIFICATION, Task, total

_LARGE = 1 << 23
"""Bytes of a population from which a copy that lies about is worth a search for it."""


class PopulationStep:
    """One batched step of a population: (S, B, ...) inputs and targets -> outputs.

    The first step of each batch shape runs as it is. If `captured`, the second is recorded and all
    later ones replay the record.

    Args:
        population: The replicas.
        captured: Whether to record steps.
        clip: Largest norm of each member's gradient; None not to clip.
        task: What is learned.
    """

    def __init__(
        self,
        population: Population,
        *,
        captured: bool,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        self._population = population
        self._captured = captured
        self._step = partial(_step, clip=clip, task=task)
        self._traced = traced_population_step(population, clip, task)
        self._settings = frozen_settings(population.optimizer)
        self._fused = can_record(population.optimizer)
        self._seen: set[Hashable] = set()
        self._replays: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        if not self._captured:
            return self._step(self._population, inputs, targets).detach()
        shape = shape_of(inputs)
        replay = self._replays.get(shape)
        if replay is None:
            if shape not in self._seen:
                self._seen.add(shape)
                return self._step(self._population, inputs, targets).detach()
            self._population.optimizer.zero_grad(set_to_none=True)
            join_counters(self._population.optimizer)
            replay = record_population(self._traced, self._population, inputs, targets)
            self._replays[shape] = replay
        if self._fused:
            with torch.inference_mode():
                return replay(inputs, targets)
        with torch.no_grad():
            logits, gradients = replay(inputs, targets)
        _update(self._population, gradients)
        return logits

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""
        settings = frozen_settings(self._population.optimizer)
        if self._fused and settings != self._settings:
            self._settings = settings
            self._replays.clear()


def traced_population_step(
    population: Population, clip: float | None, task: Task = CLASSIFICATION
) -> Callable[..., Any]:
    """Return what is recorded of a batched step: all of it, or without the optimizer's part."""
    function = _step if can_record(population.optimizer) else _clipped_gradients
    return partial(function, clip=clip, task=task)


def record_population(
    function: Callable[..., Any], population: Population, *inputs: Inputs
) -> Callable[..., Any]:
    """Return what `record` returns, and give the memory of its throw-away copy back at once.

    A model may refer to itself, and so does its copy; a replayed step makes so few objects that
    Python's collector may not come by for the rest of the run. It is told to look at what is new
    alone: to go through all that torch has made takes a quarter of a second and more.
    """
    if sum(tensor.nbytes for tensor in population.tensors()) <= _LARGE:
        return record(function, population, *inputs)
    collects = gc.isenabled()
    gc.disable()  # what it looks at while the copy is in use counts as old from then on
    try:
        return record(function, population, *inputs)
    finally:
        gc.collect(0)
        if collects:
            gc.enable()


def population_gradients(
    population: Population, inputs: Inputs, targets: Tensor, task: Task = CLASSIFICATION
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the outputs, (S, A, B, ...), and the gradients of every member for its own loss."""
    logits = population.logits(inputs)
    grid, each = logits.shape[:3], targets.shape[2:]
    flat = targets[:, None].expand(*grid, *each).reshape(-1, *each)
    losses, counts = task.terms(logits.flatten(0, 2), flat)
    # each parameter belongs to one member, so what flows back is the gradient of that one's mean
    if counts is None:
        weights = torch.full_like(losses, 1 / targets.shape[1])
    else:
        sums = total(counts.view(grid), dim=2)
        weights = (1 / sums)[..., None].expand(grid).reshape(-1)
    gradients = gradients_of(losses, trained_parameters(population.optimizer), weights)
    population.keep_buffers()
    return logits, gradients


def _clipped_gradients(
    population: Population, inputs: Inputs, targets: Tensor, clip: float | None, task: Task
) -> tuple[Tensor, list[Tensor | None]]:
    logits, gradients = population_gradients(population, inputs, targets, task)
    return logits, gradients if clip is None else clip_members(gradients, clip)


def clip_members(gradients: Sequence[Tensor | None], clip: float) -> list[Tensor | None]:
    """Return the gradients, (K, ...), those of each member scaled to a norm of at most `clip`.

    For each member it is what `torch.nn.utils.clip_grad_norm_` does for one model.
    """
    norms = [
        torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1)
        for gradient in gradients
        if gradient is not None
    ]
    if not norms:
        return list(gradients)
    total = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    scale = (clip / (total + 1e-6)).clamp(max=1.0)
    return [
        None if gradient is None else gradient * scale.view(-1, *[1] * (gradient.dim() - 1))
        for gradient in gradients
    ]


def _update(population: Population, gradients: Sequence[Tensor | None]) -> None:
    trained = trained_parameters(population.optimizer)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient
    population.optimizer.step()


def _step(
    population: Population, inputs: Inputs, targets: Tensor, clip: float | None, task: Task
) -> Tensor:
    logits, gradients = _clipped_gradients(population, inputs, targets, clip, task)
    _update(population, gradients)
    return logits
