"""What is seen of a trial whose loop is somebody's own, at about no cost a step."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import dataloader

from droplab.errors import RunError
from droplab.numeric import real
from droplab.placement import inner

_MOST = 1 << 14
"""Elements of a tensor that its digest rests on: this many, evenly spaced."""

_COUNTED = ("batches", "inputs", "examples", "weights", "parameters", "course", "_taken", "_called")
"""What a watch has seen, beside its optimizers."""


class Watch:
    """Watches the data loaders and optimizers of this process while a trial runs.

    Use it as a context. Batches 0, 1, 2, 4, 8 ... are looked at as they leave any DataLoader, in
    the order in which they do; learning rates after each step of an optimizer, and the rest of its
    settings after steps 1, 2, 4 ....

    Attributes:
        stepped: Called after each step of an optimizer with the steps of the one that has most.
    """

    def __init__(self) -> None:
        self.batches: dict[str, str] = {}
        self.inputs: dict[str, str] = {}
        self.examples: list[int] = []
        self.weights: list[str] = []
        self.parameters: list[int] = []
        self.course: list[tuple[int, str, str]] = []
        self._taken = self._called = 0
        self.stepped: Callable[[int], None] | None = None
        self._optimizers: WeakKeyDictionary[Optimizer, _Course] = WeakKeyDictionary()
        self._all: list[_Course] = []
        self._recent: Optimizer | None = None
        self._course: _Course | None = None
        """Of the optimizer that took the last step: to look it up takes as long as the rest."""

    def __enter__(self) -> Self:
        iterator = dataloader._BaseDataLoaderIter
        self._next = iterator.__next__
        if getattr(self._next, "of_a_trial", False):
            raise RunError(
                "study: expected no trial inside another one in this process, got one; let the "
                "outer one end first"
            )
        iterator.__next__ = _watched(self._next, self)  # pyright: ignore[reportAttributeAccessIssue]
        self._handle = register_optimizer_step_post_hook(self._step)
        return self

    def __exit__(self, *_: object) -> None:
        dataloader._BaseDataLoaderIter.__next__ = self._next
        self._handle.remove()
        self._recent = self._course = None

    def _look(self, number: int, iterator: Any, batch: Any) -> None:
        """Look at a batch that a data loader gives."""
        self.batches[str(number)] = digest(batch)
        dataset = getattr(iterator, "_dataset", None)
        if dataset is not None and hasattr(dataset, "__len__"):
            count = len(dataset)
            if count not in self.examples:
                self.examples.append(count)

    def placed(self, model: nn.Module) -> None:
        """Look at a model before its first step."""
        model = inner(model)
        self.weights.append(digest(dict(model.state_dict())))
        self.parameters.append(sum(p.numel() for p in model.parameters()))

    def called(self, args: Any, kwargs: Any) -> None:
        """Look at what a placed model is called with, in calls 0, 1, 2, 4, 8 ... of training."""
        number = self._called
        self._called = number + 1
        if not number & (number - 1):
            # the first alone: others may be states that the model itself has made
            first = args[0] if args else next(iter(kwargs.values()), None)
            self.inputs[str(number)] = digest(first)

    def _step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        course = self._course
        if self._recent is not optimizer or course is None:
            course = self._optimizers.get(optimizer)
            if course is None:
                course = self._optimizers[optimizer] = _Course(optimizer)
                self._all.append(course)
            self._recent, self._course = optimizer, course
        course.step(optimizer)
        if self.stepped is not None:
            self.stepped(max([each.steps for each in self._all]))

    @property
    def steps(self) -> int:
        """Steps of all optimizers so far."""
        return sum(each.steps for each in self._all)

    def reported(self) -> None:
        """Remember how far the optimizers have come at the end of an epoch."""
        rates = hashlib.blake2b(digest_size=8)
        settings = hashlib.blake2b(digest_size=8)
        for each in self._all:
            rates.update(each.rates)
            settings.update(each.settings)
        self.course.append((self.steps, rates.hexdigest(), settings.hexdigest()))

    def state(self, optimizers: Sequence[Optimizer | None]) -> dict[str, Any]:
        """Return all that was seen and counted, for `restore`.

        Args:
            optimizers: Those that `restore` will be given, in the same order.

        Raises:
            RunError: If another one has taken a step.
        """
        courses: list[dict[str, Any]] = []
        for optimizer, course in self._optimizers.items():
            place = next((k for k, each in enumerate(optimizers) if each is optimizer), None)
            if place is None:
                raise RunError(
                    f"checkpoint: expected every optimizer among the parts, got none for "
                    f"{course.said}; give it to trial.checkpoint as well"
                )
            courses.append({**vars(course), "place": place, "order": self._all.index(course)})
        courses.sort(key=lambda each: each.pop("order"))
        named = {name: copy.copy(getattr(self, name)) for name in _COUNTED}
        return {**named, "courses": courses}

    def restore(self, state: Mapping[str, Any], optimizers: Sequence[Optimizer | None]) -> None:
        """Go on from what `state` returned."""
        for name in _COUNTED:
            setattr(self, name, copy.copy(state[name]))
        self._all, self._optimizers = [], WeakKeyDictionary()
        self._recent = self._course = None
        for each in state["courses"]:
            optimizer = optimizers[each["place"]]
            if optimizer is not None:
                course = self._optimizers[optimizer] = _Course(optimizer)
                vars(course).update({key: each[key] for key in vars(course)})
                self._all.append(course)
        if self.stepped is not None:
            self.stepped(max((each.steps for each in self._all), default=0))

    def to_dict(self) -> dict[str, Any]:
        """Return what was seen, as JSON can hold it."""
        return {
            "weights": self.weights,
            "parameters": self.parameters,
            "batches": self.batches,
            "inputs": self.inputs,
            "examples": self.examples,
            "optimizers": [each.said for each in self._all],
            "course": self.course,
        }


class _Course:
    """The settings of one optimizer over its steps."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.steps = 0
        self.rates = self.settings = b""
        """Chains of checksums: a hash that goes on could not be kept on disk."""
        self.said = type(optimizer).__name__
        self._last: tuple[Any, ...] = ()
        self._settings = ""

    def step(self, optimizer: Optimizer) -> None:
        steps = self.steps = self.steps + 1
        groups = optimizer.param_groups
        if len(groups) == 1:  # a list would be a call
            rates: tuple[Any, ...] = (groups[0].get("lr"),)
        else:
            rates = tuple([group.get("lr") for group in groups])
        if rates != self._last:  # a tensor is changed in place, so what is kept is what it held
            plain = tuple([None if each is None else float(each) for each in rates])
            if plain != self._last:
                self._last = plain
                self.rates = _chained(self.rates, (steps, plain))
        if steps & (steps - 1):
            return
        found = repr([type(optimizer).__name__, *map(_settings, optimizer.param_groups)])
        if found != self._settings:
            self._settings = found
            self.settings = _chained(self.settings, (steps, found))
        if steps == 1:
            first = ", ".join(f"{each:g}" for each in dict.fromkeys(self._last) if each is not None)
            self.said += f" (lr {first} in the first step)" if first else ""


def _chained(before: bytes, value: object) -> bytes:
    return hashlib.blake2b(before + repr(value).encode(), digest_size=8).digest()


def _settings(group: Mapping[str, Any]) -> list[Any]:
    """Return what a group of parameters is, without its learning rate."""
    sizes = [parameter.numel() for parameter in group["params"]]
    plain = {
        key: value
        for key, value in group.items()
        if key not in ("params", "lr") and isinstance(value, (bool, int, float, str, tuple, list))
    }
    return [len(sizes), sum(sizes), sorted(plain.items(), key=lambda item: item[0])]


def _watched(original: Callable[[Any], Any], watch: Watch) -> Callable[[Any], Any]:
    def __next__(self: Any) -> Any:  # noqa: N807 # it takes the place of one
        batch = original(self)
        number = watch._taken
        watch._taken = number + 1
        if not number & (number - 1):
            watch._look(number, self, batch)
        return batch

    __next__.of_a_trial = True  # pyright: ignore[reportFunctionMemberAccess]
    return __next__


def digest(value: Any) -> str:
    """Return a checksum of tensors, arrays and numbers, however they are nested.

    Example:
        >>> digest([torch.ones(2), {"x": 3}]) == digest((torch.ones(2), {"x": 3}))
        True
        >>> digest(torch.tensor([1, 2])) == digest(torch.tensor([2, 1]))
        False
    """
    found = hashlib.blake2b(digest_size=8)
    for part in _parts(value):
        found.update(part)
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield str((value.dtype, tuple(value.shape))).encode()
        yield _bytes(value)
    elif isinstance(value, np.ndarray):
        yield str((value.dtype, value.shape)).encode()
        yield value.tobytes() if value.dtype.hasobject is False else repr(value.tolist()).encode()
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            yield str(key).encode()
            yield from _parts(item)
    elif isinstance(value, (list, tuple)):
        yield str(len(cast("list[Any]", value))).encode()
        for item in cast("list[Any]", value):
            yield from _parts(item)
    elif isinstance(value, (str, bytes, bool)) or value is None or real(value) is not None:
        yield repr(value).encode()
    elif hasattr(value, "__dict__"):  # a batch of a class of somebody's own
        yield type(value).__name__.encode()
        yield from _parts({k: v for k, v in vars(value).items() if isinstance(v, Tensor)})


def _bytes(tensor: Tensor) -> bytes:
    try:
        flat = tensor.detach().reshape(-1)
        flat = flat[:: math.ceil(len(flat) / _MOST)] if len(flat) > _MOST else flat
        return flat.cpu().contiguous().view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantised, of a subclass
        return b""
