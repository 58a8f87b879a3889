"""Replicas as they are compared: each with its whole state, whichever way they take their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from droplab.data import Inputs
from droplab.data.tree import of_first
from droplab.errors import DroplabError
from droplab.placement import Applied
from droplab.train._population import Population
from droplab.train._population_step import PopulationStep
from droplab.train._step import EagerStep, Step, UnsupportedError, first_sentence
from droplab.train.calling import call
from droplab.train.streams import seed_torch
from droplab.train.tasks import CLASSIFICATION, Task

Member = tuple[nn.Module, torch.optim.Optimizer, Applied]
"""A replica: its model, its optimizer, and the sites at work in it."""

Batch = tuple[Inputs, Tensor]
"""Inputs (S, B, ...) and targets (S, B, ...), a batch for each seed."""

Key = tuple[str, str]
"""A tensor of the state: the name of a parameter or buffer, and what is kept of it."""

VALUE = "value"
"""The tensor itself, where other keys have the name of an entry of the optimizer's state."""


class Compared(Protocol):
    """K = S x A replicas that take training steps in some way."""

    def step(self, number: int, batch: Batch) -> list[Tensor]:
        """Take the step with this index; return the logits of each member."""
        ...

    def score(self, inputs: Inputs) -> list[Tensor]:
        """Return the logits of each member for (S, B, ...) inputs, in eval mode."""
        ...

    def state(self, member: int) -> dict[Key, Any]:
        """Return all that a member has learned, as tensors (to be changed in place) and numbers."""
        ...


class OneByOne:
    """Replicas that take their steps one after another.

    Args:
        members: The replicas: all arms of a seed, then those of the next.
        arms: How many arms there are.
        build: Makes the step of a replica: `EagerStep`, or what is compared with it.
        task: What that step learns.
    """

    def __init__(
        self,
        members: Sequence[Member],
        arms: int = 1,
        build: Callable[[nn.Module, torch.optim.Optimizer], Step] = EagerStep,
        task: Task = CLASSIFICATION,
    ) -> None:
        self.members, self.arms, self.task = members, arms, task
        self._steps = [build(model, optimizer) for model, optimizer, _ in members]

    def step(self, number: int, batch: Batch) -> list[Tensor]:
        """See `Compared`."""
        found: list[Tensor] = []
        for at, (model, _, applied) in enumerate(self.members):
            applied.set_step(number)
            model.train()
            seed_torch(number)
            found.append(self._steps[at](*self.batch(at, batch)))
        return found

    def batch(self, member: int, batch: Batch) -> Batch:
        """Return the batch of one member."""
        return of_first(batch[0], member // self.arms), batch[1][member // self.arms]

    def score(self, inputs: Inputs) -> list[Tensor]:
        """See `Compared`."""
        with torch.no_grad():
            return [
                call(model.eval(), of_first(inputs, at // self.arms))
                for at, (model, *_) in enumerate(self.members)
            ]

    def state(self, member: int) -> dict[Key, Any]:
        """See `Compared`."""
        model, optimizer, _ = self.members[member]
        parameters = dict(model.named_parameters())
        found: dict[Key, Any] = {(name, VALUE): p.detach() for name, p in parameters.items()}
        found |= {(name, VALUE): buffer.detach() for name, buffer in model.named_buffers()}
        for name, parameter in parameters.items():
            entries = optimizer.state.get(parameter, {})
            found |= {(name, key): value for key, value in entries.items()}
        return found


class Stacked:
    """The replicas of a population, which take their steps together.

    Args:
        population: The replicas.
        captured: Whether steps are recorded.
        clip: Largest norm of each member's gradient; None not to clip.
        task: What is learned.
    """

    def __init__(
        self,
        population: Population,
        *,
        captured: bool = False,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        self._population = population
        self._step = PopulationStep(population, captured=captured, clip=clip, task=task)

    def step(self, number: int, batch: Batch) -> list[Tensor]:
        """See `Compared`."""
        self._population.template.train()
        self._population.set_step(number)
        try:
            return list(self._step(*batch).flatten(0, 1))
        except DroplabError:
            raise
        except Exception as error:  # whatever somebody's forward does when its tensors are batched
            text = first_sentence(error)
            raise UnsupportedError(f"torch.func.vmap refuses the model: {text}") from error

    def score(self, inputs: Inputs) -> list[Tensor]:
        """See `Compared`."""
        self._population.template.eval()
        with torch.no_grad():
            return list(self._population.logits(inputs).flatten(0, 1))

    def state(self, member: int) -> dict[Key, Any]:
        """See `Compared`."""
        population = self._population
        own = {**population.parameters, **population.buffers}
        found: dict[Key, Any] = {(name, VALUE): t.detach()[member] for name, t in own.items()}
        for name, parameter in population.parameters.items():
            for key, value in population.optimizer.state.get(parameter, {}).items():
                stacked = isinstance(value, Tensor) and value.dim() > 0 and key != "step"
                found[name, key] = value[member] if stacked else value
        return found
