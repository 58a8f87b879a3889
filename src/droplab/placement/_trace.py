"""One pass over an example: which layers run, on what, and which functions drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from droplab.errors import PlacementError
from droplab.placement._calls import (
    call_name,
    is_dropout_call,
    is_plain_dropout,
    rate_of,
)
from droplab.placement._layers import role
from droplab.placement._random import is_draw
from droplab.placement._tags import NOTHING, Tag, combine, plain_name, tensors
from droplab.placement._untouched import untouched
from droplab.placement._walk import inner, unique


@dataclass
class SiteRecord:
    """What the example showed of one site."""

    calls: int = 0
    shape: tuple[int, ...] | None = None
    raw: bool = False
    activation: str | None = None
    batch_norm_follows: bool = False
    dropped_by: str = ""
    shares: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class CallRecord:
    """One call of a dropping function inside a module's own `forward`.

    Args:
        owner: Path of the innermost module that was running.
        name: Name of the function.
        index: How many calls of it came before, in one call of the owner.
        p: The rate that the code asked for.
    """

    owner: str
    name: str
    index: int
    p: float


@dataclass
class Trace:
    """What one pass over an example showed."""

    sites: dict[str, SiteRecord] = field(default_factory=dict)
    calls: list[CallRecord] = field(default_factory=list)
    draws: list[str] = field(default_factory=list)
    """Path of the innermost module that was running, for every other random draw."""


def trace(model: nn.Module, example: Any) -> Trace:
    """Return what a pass over `example` shows; the model is left as it was.

    Args:
        model: Any module.
        example: A tensor, a tuple of arguments or a mapping of keyword arguments.

    Raises:
        PlacementError: If the model does not run on the example.
    """
    model = inner(model)
    args, kwargs = as_call(example)
    recorder = _Recorder(unique(model))
    try:
        with untouched(model), recorder.hooked(), recorder:
            for tensor in tensors((args, kwargs)):
                recorder.tags[tensor] = Tag(raw=True)
            model(*args, **kwargs)
    except PlacementError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors((args, kwargs)))
        raise PlacementError(
            f"example: expected a batch that the model runs on, got shape {shapes or 'none'}, with "
            f"which {type(model).__name__} fails: {type(error).__name__}: {cut(str(error))}"
        ) from error
    return recorder.result


def as_call(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an example as the arguments of a call."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list) and not hasattr(example, "batch_sizes"):
        return tuple(example), {}
    return (example,), {}


def cut(message: str, limit: int = 300) -> str:
    """Return the first lines of an error message."""
    text = " ".join(message.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class _Recorder(TorchFunctionMode):
    def __init__(self, modules: Mapping[nn.Module, list[str]]) -> None:
        super().__init__()
        self.modules = modules
        self.result = Trace()
        self.tags = WeakTensorKeyDictionary()
        self.readers = WeakTensorKeyDictionary()
        self.stack: list[tuple[str, Counter[str]]] = []
        for module, names in modules.items():
            if role(module) is not None:
                self.result.sites[names[0]] = SiteRecord()

    def tag(self, x: Tensor) -> Tag:
        """Return what is known of a tensor."""
        return cast("Tag", self.tags.get(x, NOTHING))

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Put recording hooks on every module inside."""
        with ExitStack() as stack:
            for module, names in self.modules.items():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                enter, leave = self._hooks(module, names[0])
                for handle in (
                    module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True),
                    module.register_forward_hook(leave, always_call=True),
                ):
                    stack.callback(handle.remove)
            yield

    def _hooks(self, module: nn.Module, name: str) -> tuple[Any, Any]:
        record = self.result.sites.get(name)

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.stack.append((name, Counter()))
            if record is not None:
                self._read(name, record, next(tensors((args, kwargs)), None))

        def leave(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.stack.pop()
            if record is not None:
                for tensor in tensors(output):
                    self.tags[tensor] = Tag(hidden=True, layers=frozenset({name}))

        return enter, leave

    def _read(self, name: str, record: SiteRecord, x: Tensor | None) -> None:
        record.calls += 1
        if x is None:
            return
        tag = self.tag(x)
        record.shape = tuple(x.shape)
        record.raw |= tag.raw
        record.activation = tag.activation
        record.dropped_by = tag.dropped_by
        readers = cast("set[str]", self.readers.setdefault(x, set()))
        for other in readers - {name}:
            record.shares.add(other)
            self.result.sites[other].shares.add(name)
        readers.add(name)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = list(tensors((args, kwargs)))
        tags = [self.tag(t) for t in inputs]
        name = plain_name(func)
        if "batch_norm" in name and tags:
            for layer in tags[0].layers:
                self.result.sites[layer].batch_norm_follows = True
        if is_dropout_call(func) and self.stack:
            owner, seen = self.stack[-1]
            called = call_name(func)
            p = rate_of(func, args, kwargs)
            self.result.calls.append(CallRecord(owner, called, seen[called], p))
            seen[called] += 1
        elif is_draw(func, kwargs) and self.stack:
            self.result.draws.append(self.stack[-1][0])
        output = func(*args, **kwargs)
        tag = combine(name, inputs, tags)
        if is_plain_dropout(func) and self.stack and rate_of(func, args, kwargs):
            tag = replace(tag, dropped_by=self.stack[-1][0])
        changed = output if output is not None else args[:1]  # x[i] = y returns nothing
        for tensor in tensors(changed):
            if not isinstance(tensor, nn.Parameter):
                self.tags[tensor] = tag
        return output
