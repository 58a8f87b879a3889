"""The executors of a plan: what takes the training steps of replicas, and scores them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from droplab.data import Inputs, Split, to_float
from droplab.data.tree import cut, moved, numbers_of, rows, shape_of
from droplab.placement import Applied
from droplab.train._accumulate import (
    AccumulatedStep,
    Accumulation,
    accumulated,
    accumulated_together,
)
from droplab.train._execution import ExecutionPlan
from droplab.train._population import Population, member_state
from droplab.train._population_step import PopulationStep, record_population
from droplab.train._step import EagerStep, Step, UnsupportedError
from droplab.train.calling import call
from droplab.train.capture import build_step
from droplab.train.scoring import EVAL_BATCH, Batches, evaluating, measure
from droplab.train.tasks import CLASSIFICATION, Meter, Score, Task

EVAL_EXAMPLES = 8192
"""Forward passes of one example that are run together, over all members."""

_CHUNK = 1 << 19
"""About how many numbers are gathered together: two megabytes of floats stay in the cache."""

_MOST_STEPS = 64
"""Steps whose batches are gathered together at most."""


class Source(Protocol):
    """Where an executor's batches come from."""

    def batches(self, orders: Sequence[Tensor], size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield inputs and targets as `Executor.step` takes them, in the order of each seed."""
        ...


class Executor(ABC):
    """K replicas that take their steps together; one that is trained by itself is K = 1.

    Member k = s * A + a has the weights and the batches of seed s and the rates of arm a.

    Attributes:
        model: The network that batches go through.
        applied: The sites at work in it.
        optimizer: Updates all members.
        members: How many there are, K.
        alive: Whether each of them is still trained: a NaN ends it.
        p: The planned rates, as the sites read them.
        task: What is learned.
        device: Where the replicas live.
        together: Whether outputs have seeds and arms before the examples, and targets seeds.
        records_update: Whether the update of an optimizer that is not fused is a part of a record.
        step: Takes inputs and targets of a batch of every seed, updates all members, and returns
            their outputs: (B, ...) of one replica, (S, A, B, ...) of several together.
        set_step: Called with the index of a step before it.
    """

    model: nn.Module
    applied: Applied
    optimizer: torch.optim.Optimizer
    members: int
    alive: list[bool]
    p: Tensor
    task: Task
    device: torch.device
    together: ClassVar[bool]
    records_update: ClassVar[bool]
    step: Step
    set_step: Callable[[int], None]

    @abstractmethod
    def source(self, split: Batches) -> Source:
        """Return where the batches of training examples come from."""

    @abstractmethod
    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""

    @abstractmethod
    def stop_recording(self) -> None:
        """Take eager steps from now on: what the optimizer is told changes at every step."""

    def score(
        self, split: Batches, order: Tensor | None = None, *, batch_size: int = EVAL_BATCH
    ) -> list[Score]:
        """Return the score of every member on a split, in eval mode; see `measure`."""
        return self.measure(split, order, batch_size=batch_size).scores()

    def measure(
        self,
        split: Batches,
        order: Tensor | None = None,
        *,
        batch_size: int = EVAL_BATCH,
        fully: bool = False,
        in_parts: str | None = None,
        answers: bool = False,
    ) -> Meter:
        """Return a meter that has seen all members on a split, in eval mode.

        Args:
            split: The examples.
            order: int64 (M,), which of them; None: all.
            batch_size: Examples of a batch; fewer where there are many members.
            fully: Whether the further metrics of the task are measured too.
            in_parts: The metric that is asked for on blocks of the examples, too.
            answers: Whether answers are counted, where they are classes.
        """
        meter = self.task.meter(self.members, self.device)
        meter.ask(in_parts, answers=answers)
        self.show(meter, split, order, batch_size, fully)
        return meter

    @abstractmethod
    def show(
        self, meter: Meter, split: Batches, order: Tensor | None, batch_size: int, fully: bool
    ) -> None:
        """Let a meter see the outputs of all members for a split: see `measure`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name, each (K, ...), to be read and changed in place."""

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Give parameters and buffers the values that `tensors` returned at another time.

        Raises:
            ValueError: If one has another shape.
        """
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                if stored[name].shape == tensor.shape:
                    tensor.copy_(stored[name])
                else:
                    self._reshape(name, stored[name])

    def _reshape(self, name: str, value: Tensor) -> None:
        raise ValueError(f"{name} has shape {tuple(value.shape)} in it")

    @abstractmethod
    def freeze(self, member: int) -> None:
        """Take a member out; the others go on as if it were not there."""

    def state_dict(
        self, member: int, tensors: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the weights of one member, as its model alone would have them.

        Args:
            member: Number of the member.
            tensors: What `tensors` returned at another time; None for now.
        """
        return member_state(self.model, self.tensors() if tensors is None else tensors, member)


class Single(Executor):
    """One replica: its steps are eager, recorded or compiled, as the plan says.

    Args:
        model: The replica, on the plan's device.
        optimizer: Updates its parameters.
        applied: The sites at work in it; they may be none.
        plan: How steps are executed.
        clip: Largest norm of the gradient; None not to clip.
        task: What is learned.
        accumulation: How a step is divided into mini-batches; None: it is one.
    """

    together = False
    records_update = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        applied: Applied,
        plan: ExecutionPlan,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
        accumulation: Accumulation | None = None,
    ) -> None:
        self.model, self.optimizer, self.applied = model, optimizer, applied
        self.members, self.alive, self.p = 1, [True], applied.p
        self.set_step = applied.set_step
        self._clip, self.task, self._accumulation = clip, task, accumulation
        gathered = self._gathered(plan)
        self.step = self._step = gathered or build_step(plan, model, optimizer, clip, task)
        self.device = torch.device(plan.device)

    def _gathered(self, plan: ExecutionPlan) -> AccumulatedStep | None:
        """Return what takes a step of several mini-batches, if it has several."""
        if self._accumulation is None:
            return None
        if plan.compiled:
            raise UnsupportedError("no C is known for steps of several mini-batches")
        made = accumulated(
            self.model,
            self.optimizer,
            self.task,
            self._accumulation,
            self.applied.set_step,
            clip=self._clip,
            captured=plan.captured,
        )
        self.set_step = made.set_step
        return made

    def source(self, split: Batches) -> Source:
        """Return the batches of its seed."""
        return _OneSeed(split, self.device)

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""
        self._step.refresh()

    def stop_recording(self) -> None:
        """Take eager steps from now on."""
        direct = EagerStep(self.model, self.optimizer, self._clip, self.task)
        self.step = self._step = self._gathered(ExecutionPlan(1)) or direct

    def show(
        self, meter: Meter, split: Batches, order: Tensor | None, batch_size: int, fully: bool
    ) -> None:
        """Let a meter see the outputs of the replica for a split."""
        model = self.model
        how = {"batch_size": batch_size, "device": self.device, "fully": fully}
        with evaluating(model), torch.inference_mode():
            measure(lambda x: call(model, x)[None], split, meter, order, **how)

    def tensors(self) -> dict[str, Tensor]:
        """Return views of the model's own tensors."""
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        return {name: tensor.detach()[None] for name, tensor in named}

    def _reshape(self, name: str, value: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        buffers = self.model.get_submodule(path)._buffers
        if leaf not in buffers:
            super()._reshape(name, value)
        # observers of quantisation grow theirs as they go
        buffers[leaf] = value[0].to(self.device)

    def freeze(self, member: int) -> None:
        """Note that the replica is not trained any more."""
        self.alive[member] = False


class Batched(Executor):
    """The members of a population, in one step under `vmap`.

    Args:
        population: The members.
        captured: Whether steps and scoring are recorded and replayed.
        clip: Largest norm of each member's gradient; None not to clip.
        task: What is learned.
        accumulation: How a step is divided into mini-batches; None: it is one.
    """

    together = True
    records_update = False

    def __init__(
        self,
        population: Population,
        *,
        captured: bool,
        clip: float | None = None,
        task: Task = CLASSIFICATION,
        accumulation: Accumulation | None = None,
    ) -> None:
        self.model, self.applied = population.template, population.applied
        self.optimizer, self.p = population.optimizer, population.p
        self.members, self.alive = population.members, population.alive
        self.set_step, self.device = population.set_step, population.device
        self._population, self._clip, self.task = population, clip, task
        self._accumulation = accumulation
        self.step = self._step = self._steps(captured)
        self._captured = captured
        self._replays: dict[Hashable, Callable[[Inputs], Tensor]] = {}

    def source(self, split: Batches) -> Source:
        """Return the batches of all seeds side by side; examples must be in memory."""
        assert isinstance(split, Split)  # streamed data is never grouped
        return SeedBatches(split, self.device)

    def refresh(self) -> None:
        """Forget what was recorded if a plain number of the optimizer has changed since."""
        self._step.refresh()

    def _steps(self, captured: bool) -> PopulationStep | AccumulatedStep:
        if self._accumulation is not None:
            made = accumulated_together(
                self._population, self.task, self._accumulation, clip=self._clip, captured=captured
            )
            self.set_step = made.set_step
            return made
        return PopulationStep(self._population, captured=captured, clip=self._clip, task=self.task)

    def stop_recording(self) -> None:
        """Take eager steps from now on; scoring goes on to be recorded."""
        self.step = self._step = self._steps(False)

    def show(
        self, meter: Meter, split: Batches, order: Tensor | None, batch_size: int, fully: bool
    ) -> None:
        """Let a meter see the outputs of every member; all of them read the same batches."""
        size = max(64, min(batch_size, EVAL_EXAMPLES // self.members))
        how = {"batch_size": size, "device": self.device, "fully": fully}
        with evaluating(self.model):
            measure(self._logits, split, meter, order, **how)

    def _logits(self, inputs: Inputs) -> Tensor:
        if not self._captured:
            with torch.no_grad():
                return eval_logits(self._population, inputs)
        replay = self._replays.get(shape_of(inputs))
        if replay is None:
            with torch.no_grad():
                replay = record_population(eval_logits, self._population, inputs)
            self._replays[shape_of(inputs)] = replay
        with torch.inference_mode():
            return replay(inputs)

    def tensors(self) -> dict[str, Tensor]:
        """Return the stacked tensors."""
        own = {**self._population.parameters, **self._population.buffers}
        return {name: tensor.detach() for name, tensor in own.items()}

    def freeze(self, member: int) -> None:
        """Take a replica out: it is computed along, as zeros, and nobody looks at it again."""
        self._population.freeze(member)


def eval_logits(population: Population, inputs: Inputs) -> Tensor:
    """Return the logits of every member for the same inputs, (K, B, C)."""
    return population.logits(inputs, shared=True).flatten(0, 1)


class _OneSeed:
    """The batches of one seed, (B, ...) each."""

    def __init__(self, split: Batches, device: torch.device) -> None:
        self._split, self._device = split, device

    def batches(self, orders: Sequence[Tensor], size: int) -> Iterator[tuple[Inputs, Tensor]]:
        if self._device.type == "cpu":
            yield from self._split.batches(orders[0], size)
            return
        for inputs, targets in self._split.batches(orders[0], size):
            yield moved(inputs, self._device), targets.to(self._device)


class SeedBatches:
    """The batches of several seeds side by side, gathered for many steps at a time.

    Args:
        split: Examples in memory.
        device: Where the batches are wanted.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self._inputs = moved(split.inputs, device)
        self._targets = split.packed.to(device)
        self._numbers = numbers_of(split.inputs)

    def batches(self, orders: Sequence[Tensor], size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield inputs and targets, (S, B, ...), for an order of N examples of each seed."""
        stacked = torch.stack(list(orders)).to(self._targets.device)
        seeds, count = stacked.shape
        chunk = max(1, min(_MOST_STEPS, _CHUNK // (seeds * size * self._numbers)))
        whole = count // size
        for first in range(0, whole, chunk):
            steps = min(chunk, whole - first)
            part = stacked[:, first * size : (first + steps) * size]
            yield from self._gather(part.view(seeds, steps, size).transpose(0, 1))
        if count % size:
            yield from self._gather(stacked[:, whole * size :][None])

    def _gather(self, index: Tensor) -> Iterator[tuple[Inputs, Tensor]]:
        flat = index.reshape(-1)

        def steps(x: Tensor) -> Sequence[Tensor]:
            return x.view(*index.shape, *x.shape[1:]).unbind(0)

        inputs = cut(steps, to_float(rows(self._inputs, flat)))
        yield from zip(inputs, steps(self._targets.index_select(0, flat)), strict=True)
