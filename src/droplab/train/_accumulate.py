"""A step of the optimizer over several mini-batches, which go through the model one by one.

The gradient is that of the mini-batches joined: the mean of theirs, each by its part of the whole
weight, so that a mini-batch of fewer examples, or of rarer classes, counts as it would there. Of n
mini-batches a step, number j of step t has the masks of the call index t * n + j, so that no two
share one. Only layers that look at their whole batch (BatchNorm) tell them from a large one.

The gradients of a mini-batch may be recorded; the optimizer's step, one for n of them, is not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from droplab.data import Inputs
from droplab.data.tree import cut, shape_of
from droplab.train._population import Population
from droplab.train._population_step import (
    clip_members,
    population_gradients,
    record_population,
)
from droplab.train._step import BufferPlaces, trained_parameters
from droplab.train.capture import record_gradients, step_gradients
from droplab.train.tasks import Task, total

Gradients = Callable[[Inputs, Tensor], tuple[Tensor, Sequence[Tensor | None]]]
"""(inputs, targets) of a mini-batch -> detached outputs, and the gradients of its mean loss."""


@dataclasses.dataclass(frozen=True)
class Accumulation:
    """How a step is divided.

    Attributes:
        count: Mini-batches a step, at most.
        size: Examples of a mini-batch; the last one of an epoch may be smaller.
    """

    count: int
    size: int


class AccumulatedStep:
    """An executor of steps that are made of several mini-batches.

    Args:
        gradients: What takes a mini-batch.
        optimizer: Updates the parameters.
        task: What is learned.
        accumulation: How a step is divided.
        inner: Called with the call index of a mini-batch before it.
        clip: Called with the parameters, whose gradients it may change; None: it does not.
        axis: The axis of the examples in inputs and targets: 0, or 1 behind the seeds of a
            population. Outputs, (S, A, B, ...), then have it after the arms.
    """

    def __init__(
        self,
        gradients: Gradients,
        optimizer: torch.optim.Optimizer,
        task: Task,
        accumulation: Accumulation,
        inner: Callable[[int], None],
        clip: Callable[[list[nn.Parameter]], object] | None,
        axis: int = 0,
    ) -> None:
        self._gradients, self._optimizer, self._task = gradients, optimizer, task
        self._parts, self._inner, self._clip = accumulation, inner, clip
        self._axis = axis
        self._number = 0

    def set_step(self, step: int) -> None:
        """Begin the step with this index."""
        self._number = step
        self._inner(step * self._parts.count)

    def refresh(self) -> None:
        """Let recorded gradients read the buffers that an evaluation has assigned."""
        if isinstance(self._gradients, RecordedGradients):
            self._gradients.refresh()

    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        size, axis = self._parts.size, self._axis
        parts = cut(lambda x: [part.contiguous() for part in x.split(size, axis)], inputs)
        parameters = trained_parameters(self._optimizer)
        outputs: list[Tensor] = []
        sums: list[Tensor | None] = [None] * len(parameters)
        whole: Any = 0
        for at, (some, wanted) in enumerate(zip(parts, targets.split(size, axis), strict=True)):
            self._inner(self._number * self._parts.count + at)
            output, gradients = self._gradients(some, wanted)
            outputs.append(output.detach())
            weight = self._weight(outputs[-1], wanted)
            _added(sums, gradients, weight)
            whole = whole + weight
        for parameter, summed in zip(parameters, sums, strict=True):
            parameter.grad = None if summed is None else summed.div_(_beside(whole, summed))
        if self._clip is not None:
            self._clip(parameters)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return torch.cat(outputs, 2 * axis)

    def _weight(self, outputs: Tensor, targets: Tensor) -> Tensor | int:
        """What a mini-batch weighs: of a population, for each member, (K,)."""
        with torch.no_grad():
            flat = outputs
            if self._axis:
                grid, each = outputs.shape[:3], targets.shape[2:]
                flat = outputs.flatten(0, 2)
                targets = targets[:, None].expand(*grid, *each).reshape(-1, *each)
            _, weights = self._task.terms(flat, targets)
        if weights is None:
            return outputs.shape[2 * self._axis]
        return total(weights.view(-1, outputs.shape[2]) if self._axis else weights, self._axis)


def _added(sums: list[Tensor | None], gradients: Sequence[Tensor | None], weight: Any) -> None:
    """Add the gradients of a mini-batch to the sums, times its weight."""
    for at, (before, gradient) in enumerate(zip(sums, gradients, strict=True)):
        if gradient is None:
            continue
        factor = _beside(weight, gradient)
        if before is None:
            sums[at] = gradient * factor
        elif isinstance(factor, Tensor) and gradient.layout == torch.strided:
            before.addcmul_(gradient, factor)
        elif isinstance(factor, Tensor):
            sums[at] = before + gradient * factor
        else:
            before.add_(gradient, alpha=factor)


def _beside(weight: Any, gradient: Tensor) -> Any:
    """Return the weights of members, (K,), as they stand beside gradients (K, ...)."""
    if not isinstance(weight, Tensor):
        return weight
    weight = weight.to(gradient.dtype)
    return weight.view(-1, *[1] * (gradient.dim() - 1)) if weight.dim() else weight


class RecordedGradients:
    """Replays the recorded gradients of a mini-batch; the first one of each shape is direct.

    Args:
        direct: Takes a mini-batch as it is.
        record: Records the gradients of a mini-batch like this one.
        places: Of a single model, where its buffers lie; None of a population.
    """

    def __init__(
        self,
        direct: Gradients,
        record: Callable[[Inputs, Tensor], Callable[..., Any]],
        places: BufferPlaces | None = None,
    ) -> None:
        self._direct, self._record, self._places = direct, record, places
        self._seen: set[Hashable] = set()
        self._replays: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Return outputs and gradients of a mini-batch."""
        shape = shape_of(inputs)
        if shape not in self._replays:
            if shape not in self._seen:
                self._seen.add(shape)
                found = self._direct(inputs, targets)
                self.refresh()
                return found
            self._replays[shape] = self._record(inputs, targets)
        with torch.no_grad():
            return self._replays[shape](inputs, targets)

    def refresh(self) -> None:
        """Bring assigned buffers back to where recorded steps read them."""
        if self._places is not None:
            self._places.bring_back()


def accumulated(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    accumulation: Accumulation,
    set_step: Callable[[int], None],
    *,
    clip: float | None = None,
    captured: bool = False,
) -> AccumulatedStep:
    """Return the step of one replica over several mini-batches.

    Args:
        model: The model, in train mode when called.
        optimizer: Its optimizer.
        task: What is learned.
        accumulation: How a step is divided.
        set_step: Tells the sites of a call.
        clip: Largest norm of the gradient; None not to clip.
        captured: Whether the gradients of a mini-batch are recorded.
    """
    parameters = trained_parameters(optimizer)
    gradients: Gradients = partial(_of_one, model, parameters, task)
    if captured:
        record = partial(record_gradients, model, optimizer, clip=None, task=task)
        gradients = RecordedGradients(gradients, record, BufferPlaces(model))
    clipped = None if clip is None else partial(nn.utils.clip_grad_norm_, max_norm=clip)
    return AccumulatedStep(gradients, optimizer, task, accumulation, set_step, clipped)


def _of_one(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
) -> tuple[Tensor, list[Tensor | None]]:
    return step_gradients(model, parameters, inputs, targets, None, task)


def accumulated_together(
    population: Population,
    task: Task,
    accumulation: Accumulation,
    *,
    clip: float | None = None,
    captured: bool = False,
) -> AccumulatedStep:
    """Return the step of all members over several mini-batches; for the arguments see above."""
    gradients: Gradients = partial(population_gradients, population, task=task)
    if captured:
        traced = partial(population_gradients, task=task)
        gradients = RecordedGradients(gradients, partial(record_population, traced, population))
    clipped = None if clip is None else partial(_clip_together, clip=clip)
    return AccumulatedStep(
        gradients, population.optimizer, task, accumulation, population.set_step, clipped, axis=1
    )


def _clip_together(parameters: Sequence[nn.Parameter], clip: float) -> None:
    gradients = clip_members([parameter.grad for parameter in parameters], clip)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
