"""Whether an executor gives the numbers of the direct step, measured over a few steps.

Before each step the other executor is given the state of the direct one, both take the step, and
the whole state is compared: logits, parameters, buffers, and what the optimizer keeps. So rounding
does not grow from step to step, and what is lost on the way (a buffer that is not carried along, a
number that a recording froze) still shows. How much rounding a step may have is measured too: the
direct step is taken once more with weights and inputs changed in their last bits. Entries of a
gradient that this alone moves about (the bias of a convolution before BatchNorm) may move freely,
since Adam makes whole steps of them.

What it cannot see: what first shows after these steps, as a branch on a count of a thousand steps
would. Numbers that a forward keeps in Python, and those that it draws from the generators of numpy
or Python, it finds by looking for them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from droplab.data import Inputs, Split
from droplab.data.tree import leaves, mapped, merged, of_first
from droplab.errors import DroplabError
from droplab.train._population import Population
from droplab.train._step import UnsupportedError, first_sentence
from droplab.train.agreement._members import VALUE, Batch, Compared, Key, OneByOne, Stacked
from droplab.train.agreement._rounding import StepRounding, gap, neighbour, nudge, within
from droplab.train.calling import call
from droplab.train.streams import batch_order

_STEPS = 4
"""Steps that are compared: of those that are recorded, the first one runs as it is."""

_EXAMPLES = 16
"""Examples a step; sums over more of them would be the same sums."""


def disagreement(direct: OneByOne, other: Compared, batches: Sequence[Batch]) -> str:
    """Return where `other` differs from the direct step by more than rounding; "" if nowhere.

    Args:
        direct: Throw-away replicas that take the direct step.
        other: The same replicas, taking their steps in another way.
        batches: Batches for the steps to compare, one for each, at least three where steps are
            recorded. Small ones will do: see `comparison_batches`.

    Returns:
        A reason in words, for the plan of a run.
    """
    with torch.random.fork_rng():
        try:
            _compare_steps(direct, other, batches)
            _compare_scores(direct, other, batches[-1][0])
        except _Differs as found:
            return str(found)
    return ""


def why_not_stacked(
    direct: OneByOne, population: Population, batches: Sequence[Batch], clip: float | None
) -> str:
    """Return why a population does not train as its replicas do alone; "" if it does.

    Args:
        direct: Throw-away replicas that take the direct step.
        population: The same ones, stacked.
        batches: See `disagreement`.
        clip: Largest norm of each member's gradient; None not to clip.
    """
    return disagreement(direct, Stacked(population, clip=clip, task=direct.task), batches)


def comparison_batches(train: Split, seeds: Sequence[int], batch_size: int) -> list[Batch]:
    """Return small batches for `disagreement`: the first examples that each seed sees.

    Of several inputs some are often lengths or masks, on which a forward may act in Python. So the
    least and the greatest of each stand in the first two batches, which then ask for other
    operations wherever such a model does other operations at all.
    """
    size = min(batch_size, _EXAMPLES, len(train))
    epochs = -(-size * _STEPS // len(train))
    orders = [
        torch.cat([batch_order(seed, epoch + 1, len(train)) for epoch in range(epochs)])
        for seed in seeds
    ]
    for number, examples in enumerate(_extremes(train.inputs)):
        for order in orders:
            order[number * size : number * size + min(size, len(examples))] = examples[:size]
    found: list[Batch] = []
    for first in range(0, size * _STEPS, size):
        parts = [next(train.batches(order[first : first + size], size)) for order in orders]
        inputs, targets = zip(*parts, strict=True)
        found.append((merged(torch.stack, inputs), torch.stack(targets)))
    return found


def _extremes(inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the examples with the least, and those with the greatest, of each length or mask."""
    kinds = (torch.bool, torch.int64)
    parts = [x for x in leaves(inputs) if x.ndim <= 2 and x.dtype in kinds]
    if isinstance(inputs, Tensor) or not parts:
        return ()
    sums = [x.reshape(len(x), -1).sum(1) for x in parts]
    return torch.stack([x.argmin() for x in sums]), torch.stack([x.argmax() for x in sums])


class _Differs(Exception):
    """The two differ, and how."""


def _compare_steps(direct: OneByOne, other: Compared, batches: Sequence[Batch]) -> None:
    noted: dict[str, Any] = {}
    members = range(len(direct.members))
    for number, batch in enumerate(batches):
        for member in members:
            _synchronise(direct.state(member), other.state(member))
        together = isinstance(other, Stacked)
        measured = [_measured(direct, member, number, batch, together) for member in members]
        before = [_copied(direct.state(member)) for member in members]
        expected = direct.step(number, batch)
        try:
            got = other.step(number, batch)
        except UnsupportedError as error:
            raise _Differs(str(error)) from error
        except DroplabError:
            raise
        except Exception as error:
            raise _Differs(f"the step cannot be recorded: {first_sentence(error)}") from error
        for member, found in enumerate(measured):
            if not within(expected[member], found.logits, found.logits_noise):
                raise _Differs(
                    "the direct step itself, taken twice from the same state, gives different "
                    "numbers: forward depends on more than its tensors and torch's generator"
                )
            if not within(got[member], expected[member], found.logits_noise):
                raise _Differs(f"the logits differ from those of the single step {_at(number)}")
            states = direct.state(member), other.state(member)
            _compare_states(*states, before[member], found, _at(number))
        now = _python_numbers(direct.members[0][0])
        changed = [name for name, value in now.items() if noted.get(name, value) != value]
        if changed:  # in the first step, a forward may note what it has found
            raise _Differs(f"forward keeps a number in Python that changes, '{changed[0]}'")
        noted = now


def _at(number: int) -> str:
    return f"at step {number + 1}"


def _measured(
    direct: OneByOne, member: int, number: int, batch: Batch, together: bool
) -> StepRounding:
    own = direct.members[member], number, direct.batch(member, batch), direct.task
    try:
        return StepRounding.of(*own, together=together)
    except copy.Error as error:
        raise _Differs(f"the model cannot be copied: {first_sentence(error)}") from error
    except RuntimeError as error:
        if "deepcopy" not in str(error):
            raise
        raise _Differs(f"the model cannot be copied: {first_sentence(error)}") from error


def _compare_states(
    expected: Mapping[Key, Any],
    got: Mapping[Key, Any],
    before: Mapping[Key, Any],
    measured: StepRounding,
    at: str,
) -> None:
    for key in [*expected, *got]:
        if (key in expected) != (key in got):
            raise _Differs(f"only one of the two keeps {_called(key, measured)}")
    for key, value in expected.items():
        name, entry = key
        other = got[key]
        if not isinstance(value, Tensor) or not isinstance(other, Tensor):
            same = value == other
        elif value.shape != other.shape:
            raise _Differs(f"{_called(key, measured)} has another shape")
        elif entry == VALUE and measured.gradients.get(name) is None:
            same = within(other, value, measured.buffer_noise.get(name, 0.0))
        else:
            start = before[key] if entry == VALUE else None
            same = measured.moved_alike(name, other, value, start)
        if not same:
            raise _Differs(f"{_called(key, measured)} differs from that of the single step {at}")


def _called(key: Key, measured: StepRounding) -> str:
    name, entry = key
    if entry != VALUE:
        return f"'{entry}' of '{name}' in the optimizer"
    return f"the {'buffer' if name in measured.buffer_noise else 'parameter'} '{name}'"


def _compare_scores(direct: OneByOne, other: Compared, inputs: Inputs) -> None:
    for member in range(len(direct.members)):
        _synchronise(direct.state(member), other.state(member))
    before = _copied(direct.state(0))
    expected, got = direct.score(inputs), other.score(inputs)
    for key, value in direct.state(0).items():
        if isinstance(value, Tensor) and not torch.equal(value, before[key]):
            raise _Differs(
                f"forward changes '{key[0]}' in eval mode, with every batch that is scored"
            )
    for member, (one, two) in enumerate(zip(expected, got, strict=True)):
        twin, spread = neighbour(direct.members[member][0], together=isinstance(other, Stacked))
        with torch.no_grad():
            near = call(twin.eval(), mapped(nudge, of_first(inputs, member // direct.arms)))
        if not within(two, one, spread * gap(near, one)):
            raise _Differs("the logits in eval mode differ from those of the single run")


def _copied(state: Mapping[Key, Any]) -> dict[Key, Any]:
    return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state.items()}


def _synchronise(source: Mapping[Key, Any], target: Mapping[Key, Any]) -> None:
    with torch.no_grad():
        for key, value in source.items():
            there = target.get(key)
            if isinstance(value, Tensor) and isinstance(there, Tensor):
                if value.shape != there.shape:
                    raise _Differs(f"'{key[0]}' has another shape")
                there.copy_(value)


def _python_numbers(model: nn.Module) -> dict[str, Any]:
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, (bool, int, float, str)) and name != "training"
    }
