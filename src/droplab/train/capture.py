"""A training step recorded once as a flat list of tensor operations, and replayed.

A small network spends most of a step in Python: modules, autograd's bookkeeping, the optimizer's
loops. Here the whole step (forward, backward, optimizer) is recorded once for each batch shape, and
replayed as a straight-line function over the real parameters. It runs the same operations in the
same order, so its bits are those of the eager step.

What Python does besides tensor operations is not repeated: a model whose forward branches on
Python state may only be captured by its owner's wish.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks  # pyright: ignore[reportPrivateUsage] # no public name says what is hung there

from droplab.data import Inputs
from droplab.data.tree import shape_of
from droplab.train._execution import ExecutionPlan
from droplab.train._record import record
from droplab.train._record_writer import Writer
from droplab.train._scheduler import frozen_settings
from droplab.train._step import (
    BufferPlaces,
    EagerStep,
    UnsupportedError,
    gradients_of,
    trained_parameters,
)
from droplab.train.calling import call
from droplab.train.compiled import CWriter
from droplab.train.optimizers import join_counters, reads_rate
from droplab.train.tasks import CLASSIFICATION, Task

_NORMS = nn.modules.batchnorm._NormBase  # pyright: ignore[reportPrivateUsage]

_STEADY = 64
"""Steps in which the settings of an optimizer did not change, after which its update is recorded;
twice as many after each change. To record it takes as long as fifty to a hundred updates save, so a
training of a few epochs of ten steps would pay for what it never gets back."""

_FEW = 1 << 20
"""Numbers in parameters from which on an update takes much longer than Python does around it."""

_HUNG_ON_ALL = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)
"""Functions that are called at the step of every optimizer of this process."""

_inference = torch._C._InferenceMode  # pyright: ignore[reportPrivateImportUsage]
"""What `torch.inference_mode` enters, without the four microseconds that it spends in Python."""


class CapturedStep:
    """Replays the recorded step; records anew for every batch shape it has not seen.

    The first step of each shape runs eagerly, which also creates the optimizer's state; the second
    one is recorded, after the caller has told the sites of a new step. Where it is compiled, only
    the very first one is eager.

    Args:
        model: The model, in train mode when called.
        optimizer: Its optimizer, one that `can_capture` accepts. Its learning rate is read at each
            step if it is a tensor; see `refresh` for numbers.
        clip: Largest norm of the gradient; None not to clip.
        task: What is learned.
        compiled: Whether the record is compiled as C, which changes the last bits.

    Raises:
        UnsupportedError: When a step is to be compiled and cannot be.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
        *,
        compiled: bool = False,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        if compiled and why_not_compiled(task):
            raise UnsupportedError(why_not_compiled(task))
        self._eager = EagerStep(model, optimizer, clip, task)
        self._clip = clip
        self._task = task
        self._compiled = compiled
        self._settings = frozen_settings(optimizer)
        self._fused = can_record(optimizer)
        self._places: BufferPlaces | None = None
        self._seen: set[Hashable] = set()
        self._replays: dict[Hashable, Callable[[Inputs, Tensor], Any]] = {}

    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        shape = shape_of(inputs)
        replay = self._replays.get(shape)
        if replay is None:
            if self._places is None:
                self._places = BufferPlaces(self._model)
            # compiled code has bits of its own: after a break it must go on at once
            at_once = self._compiled and self._optimizer.state
            if not at_once and shape not in self._seen:
                self._seen.add(shape)
                logits = self._eager(inputs, targets)
                self._places.bring_back()
                return logits
            self._optimizer.zero_grad(set_to_none=True)
            replay = self._replays[shape] = self._record(inputs, targets)
        if self._fused:
            with _inference(True):
                return replay(inputs, targets)
        with torch.no_grad():
            logits, gradients = replay(inputs, targets)
        parameters = trained_parameters(self._optimizer)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        return logits

    def _record(self, inputs: Inputs, targets: Tensor) -> Callable[..., Any]:
        if not self._fused and self._compiled:
            raise UnsupportedError("no C is known for an optimizer that is not fused")
        writer = CWriter if self._compiled else Writer
        if not self._fused:  # its step is Python's
            return record_gradients(
                self._model, self._optimizer, inputs, targets, self._clip, self._task
            )
        join_counters(self._optimizer)
        step = partial(traced_step, clip=self._clip, task=self._task)
        return record(step, (self._model, self._optimizer), inputs, targets, writer=writer)

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since.

        Buffers that an evaluation has assigned go back to where recorded steps read them.
        """
        if self._places is not None:
            self._places.bring_back()
        settings = frozen_settings(self._optimizer)
        if self._fused and settings != self._settings:
            self._settings = settings
            self._replays.clear()


class RecordedUpdate:
    """Replays the update of an optimizer, where all else of a step is eager.

    Most of an update of a small model is what `optimizer.step` does in Python: 0.1 to 0.2 ms. The
    operations are those of `optimizer.step`, and so are the bits.

    Args:
        optimizer: One for which `saves_update` is true.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters = trained_parameters(optimizer)
        self._settings = frozen_settings(optimizer)
        self._wait, self._steady = _STEADY, 0
        self._replay: Callable[..., Any] | None = None

    def __call__(self) -> None:
        """Update the parameters by their gradients."""
        gradients = [parameter.grad for parameter in self._parameters]
        dense = [each for each in gradients if each is not None and each.layout == torch.strided]
        if len(dense) < len(gradients) or not self._ready(dense):
            self._optimizer.step()
            return
        assert self._replay is not None
        with _inference(True):
            self._replay(dense)

    def _ready(self, gradients: list[Tensor]) -> bool:
        if self._replay is None:
            self._steady += 1
            if self._steady > self._wait:
                join_counters(self._optimizer)
                given = tuple(gradients)
                self._replay = record(_update, self._optimizer, given, name="update recorded")
        return self._replay is not None

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""
        settings = frozen_settings(self._optimizer)
        if settings != self._settings:
            self._settings, self._replay = settings, None
            self._wait, self._steady = 2 * self._wait, 0


def _update(twin: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> tuple[()]:
    for parameter, gradient in zip(trained_parameters(twin), gradients, strict=True):
        parameter.grad = gradient
    twin.step()
    return ()


def saves_update(optimizer: torch.optim.Optimizer) -> bool:
    """Whether to record an update alone is possible, and gains anything."""
    few = sum(parameter.numel() for parameter in trained_parameters(optimizer)) < _FEW
    return few and can_record(optimizer)


def build_step(
    plan: ExecutionPlan,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    clip: float | None = None,
    task: Task = CLASSIFICATION,
) -> CapturedStep | EagerStep:
    """Return the executor of a plan for one replica."""
    if plan.captured:
        return CapturedStep(model, optimizer, clip, task, compiled=plan.compiled)
    update = RecordedUpdate(optimizer) if saves_update(optimizer) else None
    return EagerStep(model, optimizer, clip, task, update)


def why_not_compiled(task: Task) -> str:
    """Return why the steps of a task cannot be compiled as C; "" if nothing is against it."""
    if task.name == "classification" and task.plain:
        return ""
    loss = task.name if task.plain else f"{task.name} with a loss of its own"
    return f"no C is known for the loss of {loss}, only for plain cross entropy of classes"


def can_capture(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step of this model and optimizer may be recorded without asking.

    True for droplab's own networks and for `nn.Sequential` trees of torch's own layers, whose
    forward has no Python state, with an optimizer that `can_record` accepts. For other models,
    `why_not_recorded` looks.
    """
    return can_record(optimizer) and all(is_stateless(module) for module in model.modules())


def can_record(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this is an optimizer of torch that has one fused operation for its update.

    What somebody has hung on its step, or on those of all optimizers, is Python, and not recorded.
    """
    known = type(optimizer).__module__.startswith("torch.optim.")
    own = (vars(optimizer).get(f"_optimizer_step_{when}_hooks") for when in ("pre", "post"))
    hooked = any(own) or any(_HUNG_ON_ALL)
    groups = optimizer.param_groups
    if not (known and not hooked and all(group.get("fused") for group in groups)):
        return False
    return reads_rate(optimizer) or not any(isinstance(each["lr"], Tensor) for each in groups)


def is_stateless(module: nn.Module) -> bool:
    """Whether this is a layer of torch or a network of droplab: its forward has no Python state."""
    if isinstance(module, _NORMS) and module.momentum is None:
        return False  # it divides by the number of batches, as a number of Python
    home = type(module).__module__
    return home.startswith(("torch.nn.modules.", "droplab.models."))


def traced_step(
    twin: tuple[nn.Module, torch.optim.Optimizer],
    inputs: Inputs,
    targets: Tensor,
    clip: float | None,
    task: Task = CLASSIFICATION,
) -> Tensor:
    """The step as `EagerStep` does it, with the gradients taken without accumulation."""
    model, optimizer = twin
    parameters, places = trained_parameters(optimizer), BufferPlaces(model)
    logits, gradients = step_gradients(model, parameters, inputs, targets, clip, task)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    places.bring_back()
    return logits


def record_gradients(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Inputs,
    targets: Tensor,
    clip: float | None,
    task: Task,
) -> Callable[..., Any]:
    """Return what takes a batch and returns outputs and gradients, in the optimizer's order."""
    order = {id(p): name for name, p in model.named_parameters()}
    names = [order[id(p)] for p in trained_parameters(optimizer)]
    gradients = partial(_gradients_by_name, names=names, clip=clip, task=task)
    return record(gradients, model, inputs, targets)


def _gradients_by_name(
    model: nn.Module,
    inputs: Inputs,
    targets: Tensor,
    names: Sequence[str],
    clip: float | None,
    task: Task,
) -> tuple[Tensor, list[Tensor | None]]:
    own, places = dict(model.named_parameters()), BufferPlaces(model)
    found = step_gradients(model, [own[name] for name in names], inputs, targets, clip, task)
    places.bring_back()
    return found


def step_gradients(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    inputs: Inputs,
    targets: Tensor,
    clip: float | None,
    task: Task,
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the outputs of a batch, and the gradients of its loss for some parameters."""
    logits = call(model, inputs)
    gradients = gradients_of(task.mean(logits, targets), parameters)
    if clip is not None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, clip)
        gradients = [parameter.grad for parameter in parameters]
    return logits, gradients
