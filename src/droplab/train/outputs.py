"""Which part of what a model returns are its outputs, and whether these are logits at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from droplab.data.tree import moved
from droplab.train.calling import call
from droplab.train.scoring import Batches, evaluating
from droplab.train.tasks import CrossEntropy, Task

_PROBED, _BATCH = 64, 16
"""How many examples are looked at for outputs that sum to one, and how many at a time."""

_VIEWS = (
    *("View", "UnsafeView", "ReshapeAlias", "Alias", "Squeeze", "Unsqueeze", "Select", "Slice"),
    *("T", "Transpose", "Permute", "Clone"),
)
"""Operations, as autograd calls them, after which a function's results are what they were."""


@dataclass(frozen=True)
class Part:
    """A part of what a model returns; as a forward hook, it takes that part in its place.

    A tensor is left as it is: some models return more than their outputs in one mode alone.

    Args:
        key: Key, index or name of an attribute.
        attribute: Whether it is one.

    Example:
        >>> str(Part("logits")), str(Part(0)), str(Part("logits", attribute=True))
        ("['logits']", '[0]', '.logits')
    """

    key: str | int
    attribute: bool = False

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return None
        return getattr(output, str(self.key)) if self.attribute else output[self.key]

    def __str__(self) -> str:
        return f".{self.key}" if self.attribute else f"[{self.key!r}]"


def find_part(
    model: nn.Module, split: Batches, batch_size: int, classes: int, task: Task
) -> tuple[Part | None, str]:
    """Return which part of what a model returns are its outputs, and what is to be said of it.

    Args:
        model: A model that is thrown away afterwards: its running statistics change.
        split: The training examples.
        batch_size: Examples a step.
        classes: How many classes the data has; 0 if that is not known.
        task: What is learned.

    Returns:
        None and "" where it returns a tensor, or where it is not certain, of which `check_model`
        says more.

    Randomness: torch's default generator is left as it was.
    """
    found: dict[str, tuple[Part | None, Any]] = {}
    size = min(2, batch_size, len(split))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        inputs, targets = next(split.batches(torch.arange(size), size))
        targets, _ = task.unpacked(targets)
        for mode in ("eval", "train"):
            try:
                output = call(model.train(mode == "train"), inputs)
            except Exception:  # which is told where the model is checked
                return None, ""
            if not isinstance(output, Tensor):
                found[mode] = certain_part(output, targets, classes, task), output
    parts = {part for part, _ in found.values()}
    if len(parts) != 1 or None in parts:
        return None, ""
    part, output = next(iter(found.values()))
    others = [str(each) for each, value in fields(output) if value is not None and each != part]
    rest = f", and the rest ({', '.join(others[:6])}) is not used" if others else ""
    mode = "" if len(found) == 2 else f" in {next(iter(found))} mode"
    name = type(output).__name__
    return part, f"The model returns a {name}{mode}: its {part} is taken for its outputs{rest}."


def certain_part(output: Any, targets: Tensor, classes: int, task: Task) -> Part | None:
    """Return the part that holds the outputs; None where that is not certain.

    It is certain of what is called logits, of the only tensor that fits the task, and of the first
    one of a tuple if it fits; among classes, what fits has one number for each of them.
    """
    fit = {part: each for part, each in fields(output) if fits(each, targets, classes, task)}
    by_name = [part for part in fit if part.key == "logits"]
    if by_name or not isinstance(output, (Mapping, tuple, list)):
        return by_name[0] if by_name else None
    counted = task.name == "classification" and classes > 1
    if counted:
        fit = {part: each for part, each in fit.items() if each.shape[1] == classes}
    if len(fit) == 1:
        return next(iter(fit))
    # of tokens, and of classes that are not known, hidden values may fit as well
    told = counted or task.name in ("binary", "multilabel", "regression")
    first = next((part for part, _ in fields(output)), None)
    return first if told and first in fit and not isinstance(output, Mapping) else None


def fits(value: Any, targets: Tensor, classes: int, task: Task) -> bool:
    """Whether something may be the outputs for these targets."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    if not task.takes(value, targets):
        return False
    return task.name != "classification" or value.shape[1] >= classes


def fields(output: Any) -> Iterator[tuple[Part, Any]]:
    """Yield the parts of an output that is no tensor."""
    if isinstance(output, Mapping):
        yield from ((Part(key), value) for key, value in output.items())
    elif isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", None)
        for number, value in enumerate(output):
            yield (Part(names[number], attribute=True) if names else Part(number)), value
    elif hasattr(output, "__dict__"):
        yield from ((Part(key, attribute=True), value) for key, value in vars(output).items())


def probabilities_note(model: nn.Module, split: Batches, task: Task) -> str:
    """Say that a model ends in the function that its loss applies itself; "" if it does not.

    Outputs that are nowhere below zero and sum to one for every example, over several batches of
    real data, are those of a softmax. A sigmoid is known by what autograd notes of it.

    Args:
        model: The model, whose outputs are a tensor.
        split: The training examples.
        task: What is learned.
    """
    entropy = isinstance(task.loss, CrossEntropy)
    if not entropy and not (task.plain and task.name in ("binary", "multilabel")):
        return ""
    try:
        sums, last = _ends(model, split, sums=entropy)
    except Exception:  # on other examples than those that were checked: training tells
        return ""
    if not sums and last != "Sigmoid":
        return ""
    name, own = ("softmax", "probabilities") if sums else ("sigmoid", "numbers from 0 to 1")
    taken = "cross entropy" if entropy else "binary cross entropy"
    return (
        f"The model ends in a {name}: its outputs are {own}, and {taken} takes logits, of which it "
        f"makes probabilities itself; leave the last {name} out, so that it is not taken twice."
    )


def _ends(model: nn.Module, split: Batches, *, sums: bool) -> tuple[bool, str]:
    """Return whether outputs sum to one, if that is asked, and which function made them."""
    device = next((p.device for p in model.parameters()), None)
    last = ""
    with evaluating(model), torch.random.fork_rng(devices=[]), torch.enable_grad():
        for inputs, _ in split.batches(torch.arange(min(_PROBED, len(split))), _BATCH):
            outputs = call(model, moved(inputs, device))
            last = _last_function(outputs)
            values = outputs.detach().float()
            one = (values.sum(-1) - 1).abs() < 1e-3
            sums = sums and bool((values >= 0).all()) and bool(one.all())
            if not sums:
                break
    return sums, last


def _last_function(outputs: Tensor) -> str:
    """Return the name of the function that made the outputs, as autograd has it, without views."""
    node = outputs.grad_fn
    while node is not None:
        name = type(node).__name__.partition("Backward")[0]
        if name not in _VIEWS:
            return name
        node = node.next_functions[0][0] if node.next_functions else None
    return ""
