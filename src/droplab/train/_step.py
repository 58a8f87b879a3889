"""The training step: one specification, and the executor that runs it through autograd.

The step with the global index t (counted from 0 over the whole run) is:

1. The masks of every site are those of (stream key of the site, t).
2. logits = model(inputs), with the model in train mode.
3. loss = mean cross entropy of the logits over the batch.
4. Gradients of the loss for every parameter; nothing is accumulated from step to step.
5. One step of the optimizer.

An executor is a function (inputs, targets) -> logits of shape (B, C), detached, that does 2 to 5;
the caller does 1. `EagerStep` below is the plain form. `CapturedStep` replays the same operations
without autograd and is held to the same bits by a golden test. `PopulationStep` follows the same
five points for K replicas, with a leading axis K on parameters and state, and equals the single
step within float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor], Tensor]
"""An executor: (inputs, targets) -> detached logits, after one update of the parameters."""


class EagerStep:
    """Runs the step through autograd and the optimizer, as a plain PyTorch loop does.

    Args:
        model: The model, in train mode when called.
        optimizer: Its optimizer.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = self._model(inputs)
        loss = F.cross_entropy(logits, targets)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return logits.detach()


def gradients_of(
    loss: Tensor, parameters: Sequence[nn.Parameter], weights: Tensor | None = None
) -> list[Tensor | None]:
    """Return the gradients of `loss` (times `weights`), each laid out as its parameter is.

    Fused optimizers go through the memory of both side by side, and autograd gives only what it
    accumulates the layout of the parameter.
    """
    gradients = torch.autograd.grad(loss, parameters, weights, allow_unused=True)
    return [
        gradient
        if gradient is None or gradient.stride() == parameter.stride()
        else torch.empty_like(parameter).copy_(gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
