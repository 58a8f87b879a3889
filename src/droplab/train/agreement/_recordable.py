"""Whether a model of somebody's own may be recorded: whether a record does what its forward does.

A record repeats tensor operations and nothing else. So forward is traced from several states
(other parameters and buffers, batches, steps and states of the generator), and the graphs must be
the same; nothing that it keeps in Python may change from step to step; and several recorded steps
must leave the same state as the direct ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from droplab.data import Inputs
from droplab.data.tree import of_first
from droplab.train._executor import eval_logits
from droplab.train._population import Population
from droplab.train._population_step import traced_population_step
from droplab.train._record import storage_of, trace
from droplab.train._step import EagerStep, UnsupportedError, first_sentence
from droplab.train._trace import Trace
from droplab.train.agreement._compare import disagreement
from droplab.train.agreement._members import Batch, Member, OneByOne, Stacked
from droplab.train.agreement._python_state import changed, python_state
from droplab.train.calling import call
from droplab.train.capture import CapturedStep, can_record, traced_step
from droplab.train.streams import seed_torch
from droplab.train.tasks import CLASSIFICATION, Task

_STEPS = (0, 1, 1_000_003)
"""The steps at which forward is traced, each from another state."""

Make = Callable[[], Member]


def why_not_recorded(
    make: Make,
    batches: Sequence[Batch],
    clip: float | None = None,
    task: Task = CLASSIFICATION,
) -> str:
    """Return why the step of a replica may not be recorded; "" if it may.

    Args:
        make: Returns a throw-away replica, the same at each call.
        batches: At least three: see `comparison_batches`.
        clip: Largest norm of the gradient; None not to clip.
        task: What is learned.

    Returns:
        A reason in words, for the plan of a run.
    """
    with torch.random.fork_rng():
        model, optimizer, applied = make()
        if not can_record(optimizer):
            return f"{type(optimizer).__name__} has no fused step here"
        reason = _why_not_pure((model, optimizer, applied), batches, clip, task)
        if not reason:
            own = [*model.parameters(), *model.buffers()]
            state = [value for each in optimizer.state.values() for value in each.values()]
            inputs = [(of_first(x, 0), y[0]) for x, y in batches]
            step = partial(traced_step, clip=clip, task=task)
            reason = _why_not_the_same(
                step, (model, optimizer), [*own, *state], inputs, applied.set_step
            )
        if reason:
            return reason
        build = partial(CapturedStep, clip=clip, task=task)
        eager = partial(EagerStep, clip=clip, task=task)
        direct = OneByOne([make()], build=eager, task=task)
        found = disagreement(direct, OneByOne([make()], build=build), batches)
    return f"measured in recorded steps, {found}" if found else ""


def why_not_recorded_together(
    make: Callable[[], Population],
    make_direct: Callable[[], OneByOne],
    batches: Sequence[Batch],
    clip: float | None = None,
    task: Task = CLASSIFICATION,
) -> str:
    """Return why the batched step of a population may not be recorded; "" if it may.

    Args:
        make: Returns a throw-away population, the same at each call, whose replicas may be trained
            together.
        make_direct: Returns the same replicas, which take the direct step.
        batches: At least three: see `comparison_batches`.
        clip: Largest norm of each member's gradient; None not to clip.
        task: What is learned.
    """
    with torch.random.fork_rng():
        reason = _why_not_pure(make_direct().members[0], batches, clip, task)
        if reason:
            return reason
        population = make()
        population.template.train()
        stacked = Stacked(population, clip=clip, task=task)
        stacked.step(0, batches[0])  # which makes the optimizer's state
        population.optimizer.zero_grad(set_to_none=True)
        step = traced_population_step(population, clip, task)
        tensors, set_step = population.tensors(), population.set_step
        reason = _why_not_the_same(step, population, tensors, batches, set_step)
        if not reason:
            population.template.eval()
            with torch.no_grad():
                shared = [(of_first(inputs, 0),) for inputs, _ in batches]
                reason = _why_not_the_same(eval_logits, population, tensors, shared, set_step)
        if reason:
            return reason
        stacked = Stacked(make(), captured=True, clip=clip, task=task)
        found = disagreement(make_direct(), stacked, batches)
    return f"measured in recorded steps, {found}" if found else ""


def _why_not_pure(member: Member, batches: Sequence[Batch], clip: float | None, task: Task) -> str:
    """Return what forward keeps in Python from step to step; "" if nothing."""
    model, optimizer, applied = member
    step = EagerStep(model, optimizer, clip, task)
    before: dict[str, Any] = {}
    for number, (inputs, targets) in enumerate(batches):
        applied.set_step(number)
        step(of_first(inputs, 0), targets[0])
        with torch.no_grad():
            if number >= 1:
                call(model.eval(), of_first(inputs, 0))
        model.train()
        now = python_state(model)
        found = changed(before, now) if before else ""
        if found and number > 1:  # before that, forward may note what it has found
            return f"its forward changes what a record does not repeat: {found}"
        before = now
    optimizer.zero_grad(set_to_none=True)
    return ""


def _why_not_the_same(
    function: Callable[..., Any],
    subject: Any,
    tensors: Sequence[Any],
    batches: Sequence[tuple[Inputs, ...]],
    set_step: Callable[[int], None],
) -> str:
    """Return why traces from several states differ; "" if they do not."""
    signatures: list[Any] = []
    for number, step in enumerate(_STEPS):
        set_step(step)
        alter = partial(_alter, tensors, number)
        try:
            found, originals = trace(
                function, subject, *batches[number % len(batches)], prepare=alter
            )
        except UnsupportedError as error:
            return str(error)
        except Exception as error:  # whatever somebody's forward does when it is traced
            return f"its step cannot be traced: {first_sentence(error)}"
        signatures.append(_signature(found, originals))
        if signatures[-1] != signatures[0]:
            return "its forward does other operations in another state"
    return ""


def _alter(tensors: Sequence[Any], number: int, copies: dict[int, Any]) -> None:
    """Give copies other values: signs turn, counters count on, indices stay within their range."""
    seed_torch(number)
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in (copies.get(id(each)) for each in tensors):
            if not isinstance(tensor, Tensor) or number == 0 or not tensor.numel():
                continue
            if tensor.is_floating_point() and tensor.dim():
                noise = torch.randn(tensor.shape, generator=generator).to(tensor)
                tensor.copy_(-1.7 * tensor if number == 1 else 3 * noise)
            elif tensor.dim():
                tensor.copy_(tensor.roll(1, 0))
            elif tensor.dtype == torch.bool:
                tensor.logical_not_()
            else:
                tensor.add_(1 if number == 1 else _STEPS[-1] % 100)


def _signature(found: Trace, originals: dict[int, Tensor]) -> Any:
    """Return what two traces have in common if they do the same to the same tensors."""
    places = {storage: place for place, storage in enumerate(originals)}
    constants: list[Any] = []
    for value in found.constants.values():
        about = tuple(value.shape), value.stride(), str(value.dtype)
        place = places.get(storage_of(value)) if value.numel() else None
        if place is None:
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            constants.append((about, hashlib.sha256(plain.numpy().tobytes()).hexdigest()))
        else:
            constants.append((about, place, value.storage_offset()))
    return str(found.graph), constants
