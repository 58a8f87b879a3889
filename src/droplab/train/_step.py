"""The training step: one specification, and the executor that runs it through autograd.

The step with the global index t (counted from 0 over the whole run) is:

1. The masks of every site are those of (stream key of the site, t).
2. outputs = model(inputs), with the model in train mode; several inputs are given to it as its
   forward takes them (`_call`).
3. loss = the task's loss over the batch: for classification the mean cross entropy of the logits.
4. Gradients of the loss for every parameter; nothing is accumulated from step to step, though a
   step may be made of several mini-batches (`_accumulate`). If there is a largest norm ("clip"),
   the gradients of a model are scaled together so as not to exceed it.
5. One step of the optimizer, at the learning rate that the scheduler has for this epoch or step.

An executor is a function (inputs, targets) -> outputs of shape (B, ...), detached, that does 2 to
5; the caller does 1 and sets the learning rate. `EagerStep` below is the plain form. `CapturedStep`
replays the same operations without autograd and is held to the same bits by a golden test.
`PopulationStep` follows the same five points for K replicas, with a leading axis K on parameters
and state, and equals the single step within float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from droplab.data import Inputs
from droplab.errors import DroplabError
from droplab.train.calling import call
from droplab.train.tasks import CLASSIFICATION, Task

NUMBER_TAKEN = (
    "it takes a number out of a tensor (.item(), if, or BatchNorm with momentum=None), "
    "which is another one in each replica and step"
)


class UnsupportedError(DroplabError):
    """An executor cannot take the steps of this model: the direct step can."""


Step = Callable[[Inputs, Tensor], Tensor]
"""An executor: (inputs, targets) -> detached outputs, after one update of the parameters."""


class Update(Protocol):
    """Does what the step of an optimizer would."""

    def __call__(self) -> object:
        """Update the parameters by their gradients."""
        ...

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""
        ...


class EagerStep:
    """Runs the step through autograd and the optimizer, as a plain PyTorch loop does.

    Args:
        model: The model, in train mode when called.
        optimizer: Its optimizer.
        clip: Largest norm of the gradient; None not to clip.
        task: What is learned.
        update: Does what the optimizer's own step would; None: that is called.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
        update: Update | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._clip = clip
        self._task = task
        self._update = update

    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        outputs = call(self._model, inputs)
        loss = self._task.mean(outputs, targets)
        if self._update is None:  # somebody's own optimizer may do more than forget gradients
            self._optimizer.zero_grad(set_to_none=True)
        else:
            for parameter in trained_parameters(self._optimizer):
                parameter.grad = None
        loss.backward()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(trained_parameters(self._optimizer), self._clip)
        (self._update or self._optimizer.step)()
        return outputs.detach()

    def refresh(self) -> None:
        """Forget what was recorded of the update if a number of the optimizer has changed since."""
        if self._update is not None:
            self._update.refresh()


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what an optimizer updates, in its order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def gradients_of(
    loss: Tensor, parameters: Sequence[nn.Parameter], weights: Tensor | None = None
) -> list[Tensor | None]:
    """Return the gradients of `loss` (times `weights`), each laid out as its parameter is.

    Fused optimizers go through the memory of both side by side, and autograd gives only what it
    accumulates the layout of the parameter.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    found = iter(torch.autograd.grad(loss, wanted, weights, allow_unused=True))
    gradients = [next(found) if parameter.requires_grad else None for parameter in parameters]
    return [
        gradient
        if gradient is None or gradient.is_sparse or gradient.stride() == parameter.stride()
        else torch.empty_like(parameter).copy_(gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]


class BufferPlaces:
    """The tensors in which a model's buffers lie.

    `forward` may give a buffer a new value by assigning a new tensor to it. What was recorded goes
    on reading and writing the tensor that was there.

    Args:
        model: The model, with the buffers that are to stay.
    """

    def __init__(self, model: nn.Module) -> None:
        self._held = [
            (module._buffers, name, buffer)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    def bring_back(self) -> None:
        """Copy what was assigned since into the tensors of the beginning, and put these back.

        Raises:
            UnsupportedError: If a buffer got another shape or type.
        """
        with torch.no_grad():
            for buffers, name, tensor in self._held:
                value = buffers.get(name)
                if value is not tensor:
                    tensor.copy_(check_assigned(name, value, tensor))
                    buffers[name] = tensor


def check_assigned(name: str, value: Tensor | None, held: Tensor) -> Tensor:
    """Return a buffer's new value, which has to fit where the old one lies.

    Raises:
        UnsupportedError: If it does not.
    """
    if value is None or value.shape != held.shape or value.dtype != held.dtype:
        raise UnsupportedError(
            f"forward gives the buffer '{name}' another shape or type, which neither a recorded "
            "step nor a batched one can follow; train replica by replica, eagerly"
        )
    return value


def first_sentence(error: BaseException) -> str:
    """Return what an error says, in one line and not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    if ".item()" in text:
        return NUMBER_TAKEN
    return text.split(". ")[0].rstrip(".")[:200]
