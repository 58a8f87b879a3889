"""One pass over an example: which layers run, on what, and which functions drop."""

from __future__ import annotations

import random
import sys
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
from droplab.placement._drawn import (
    Drawn,
    Extremes,
    calling_line,
    drawing_name,
    profiled,
    watched,
)
from droplab.placement._generators import own_generators
from droplab.placement._layers import input_count, role
from droplab.placement._products import (
    MULTIPLY,
    Product,
    made_weight,
    matrices,
    may_multiply,
    parameter_name,
)
from droplab.placement._random import is_draw
from droplab.placement._tags import NOTHING, Tag, combine, plain_name, tensors
from droplab.placement._untouched import untouched
from droplab.placement._walk import ROOT, inner, unique


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
    sometimes: bool = False
    """Whether the layer is skipped at random."""
    dtype: torch.dtype | None = None
    used_by: str = ""
    """What multiplies by the layer's weight without calling the layer."""


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
    """Path of the innermost module that was running, for every other draw that can have a key."""
    drawn: Counter[Drawn] = field(default_factory=Counter[Drawn])
    """All random draws but those of dropping functions, and how many there were of each."""
    weights: dict[str, str] = field(default_factory=dict)
    """Parameters by which a module multiplies in its own code, and where it does."""
    products: dict[str, set[str]] = field(default_factory=dict)
    """Modules whose input is multiplied by these parameters of their own."""
    mixed: set[str] = field(default_factory=set)
    """Those of them whose input is read by something else, too, so that it is no site."""


def trace(model: nn.Module, example: Any) -> Trace:
    """Return what a pass over `example` shows; the model is left as it was.

    The pass begins with the same generators each time, so that what is found does not depend on
    theirs. A model that draws random numbers may skip layers by them. So it runs again with draws
    that are all low and all high, and in eval mode if there are layers that did not run yet.

    Args:
        model: Any module.
        example: A tensor, a tuple of arguments or a mapping of keyword arguments.

    Raises:
        PlacementError: If the model does not run on the example.
    """
    model = inner(model)
    call = as_call(example)
    found, unseen = _pass(model, call)
    if unseen:
        found.drawn.update(_pass(model, call, profile=True)[0].drawn - found.drawn)
    if not found.drawn:
        return found
    passes = [found]
    for extremes in (Extremes(high=True), Extremes(high=False), None):
        try:
            passes.append(_pass(model, call, extremes=extremes, seed=1)[0])
        except PlacementError:  # no numbers that this model can do with
            continue
    merged = _merged(passes)
    if any(record.sometimes or not record.calls for record in merged.sites.values()):
        try:
            shown = _pass(model, call, training=False)[0]
        except PlacementError:
            return merged
        if _ran(shown) > max(map(_ran, passes)):
            for name, record in merged.sites.items():
                if shown.sites[name].calls:
                    merged.sites[name] = replace(shown.sites[name], sometimes=record.sometimes)
                    merged.sites[name].sometimes |= not record.calls
    return merged


def _ran(found: Trace) -> int:
    """Return how many layers ran."""
    return sum(bool(record.calls) for record in found.sites.values())


_Call = tuple[tuple[Any, ...], dict[str, Any]]


def _pass(
    model: nn.Module,
    call: _Call,
    *,
    training: bool = True,
    seed: int = 0,
    extremes: Extremes | None = None,
    profile: bool = False,
) -> tuple[Trace, bool]:
    """Return what one pass shows, and whether Python drew where nobody saw it."""
    args, kwargs = call
    recorder = _Recorder(unique(model), extremes)
    look = profiled if profile else watched
    with (
        example_fails(model, call),
        untouched(model, training=training, seed=seed),
        recorder.hooked(),
        recorder,
        look(recorder.drew),
        own_generators(model, recorder.drew, extremes),
    ):
        if extremes is not None:
            extremes.begin()
        before = random.getstate()
        for tensor in tensors(call):
            recorder.tags[tensor] = Tag(raw=True)
        model(*args, **kwargs)
        moved = random.getstate() != before
    told = any(drawn.function.startswith("random.") for drawn in recorder.result.drawn)
    return recorder.result, moved and not told


def _merged(passes: list[Trace]) -> Trace:
    """Return what several passes show: of each site the one in which most layers ran."""
    passes = sorted(passes, key=_ran, reverse=True)
    result = Trace()
    for name in passes[0].sites:
        records = [each.sites[name] for each in passes]
        ran = [record for record in records if record.calls]
        best = ran[0] if ran else records[0]
        result.sites[name] = replace(best, sometimes=0 < len(ran) < len(records))
        result.sites[name].batch_norm_follows = any(r.batch_norm_follows for r in records)
    for each in passes:
        result.calls += (Counter(each.calls) - Counter(result.calls)).elements()
        result.draws += (Counter(each.draws) - Counter(result.draws)).elements()
        result.drawn |= each.drawn
        result.weights = each.weights | result.weights
        result.mixed |= each.mixed
        for path, used in each.products.items():
            result.products.setdefault(path, set()).update(used)
    return result


@contextmanager
def example_fails(model: nn.Module, arguments: Any) -> Iterator[None]:
    """Say that a model does not run on an example, whatever it raises inside.

    Raises:
        PlacementError: In place of any error.
    """
    try:
        yield
    except PlacementError:
        raise
    except Exception as error:
        shapes = cut(", ".join(str(tuple(t.shape)) for t in tensors(arguments)), 100)
        raise PlacementError(
            f"example: expected a batch that the model runs on, got shape {shapes or 'none'}, with "
            f"which {type(model).__name__} fails: {type(error).__name__}: {cut(str(error))}"
        ) from error


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
    def __init__(
        self, modules: Mapping[nn.Module, list[str]], extremes: Extremes | None = None
    ) -> None:
        super().__init__()
        self.modules = modules
        self.extremes = extremes
        self.result = Trace()
        self.tags = WeakTensorKeyDictionary()
        self.readers = WeakTensorKeyDictionary()
        self.stack: list[tuple[str, Counter[str]]] = []
        self.weights = {
            id(parameter): parameter_name(names[0], key)
            for module, names in modules.items()
            for key, parameter in module._parameters.items()
            if parameter is not None
        }
        self.layers: set[str] = set()
        """Paths of the weight layers."""
        self.owned: dict[str, frozenset[str]] = {}
        """Of other modules that have matrices, their names."""
        self.running: list[Product] = []
        """Calls of those, the innermost last."""
        for module, names in modules.items():
            if role(module) is not None:
                self.layers.add(names[0])
            elif may_multiply(module, names[0]):
                self.owned[names[0]] = matrices(module, names[0])
            else:
                continue
            self.result.sites[names[0]] = SiteRecord()

    def tag(self, x: Tensor) -> Tag:
        """Return what is known of a tensor."""
        if isinstance(x, nn.Parameter):
            return Tag(weight=self.weights.get(id(x), ""))
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
        inputs = input_count(type(module))
        made = made_weight(module, name)

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.stack.append((name, Counter()))
            if record is not None:
                given = list(tensors((args, kwargs)))
                self._read(name, record, given[:inputs])
                if name in self.owned:
                    self.running.append(Product(name, given, self.owned[name]))

        def leave(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.stack.pop()
            if made and isinstance(output, Tensor):
                self.tags[output] = Tag(hidden=True, weight=made)
            if record is not None and (name in self.layers or self._multiplied(output)):
                for tensor in tensors(output):
                    self.tags[tensor] = Tag(hidden=True, layers=frozenset({name}))

        return enter, leave

    def _multiplied(self, output: Any) -> bool:
        """Note what became of the input of a module that is left, and say if it was a product."""
        product = self.running.pop()
        is_one = product.leave(output)
        self.result.products.setdefault(product.path, set()).update(product.used)
        if product.mixed:
            self.result.mixed.add(product.path)
        return is_one

    def drew(self, function: str, where: str) -> None:
        """Note a draw of the module that is running."""
        if self.stack:
            self.result.drawn[Drawn(self.stack[-1][0], function, where)] += 1

    def _read(self, name: str, record: SiteRecord, inputs: list[Tensor]) -> None:
        record.calls += 1
        if not inputs:
            return
        tags = [self.tag(x) for x in inputs]
        record.shape, record.dtype = tuple(inputs[0].shape), inputs[0].dtype
        record.raw |= any(tag.raw for tag in tags)
        first, *others = (tag.activation for tag in tags)
        record.activation = first if all(other == first for other in others) else None
        record.dropped_by = next((tag.dropped_by for tag in tags if tag.dropped_by), "")
        for x in inputs:
            readers = cast("set[str]", self.readers.setdefault(x, set()))
            for other in readers - {name}:
                record.shares.add(other)
                self.result.sites[other].shares.add(name)
            readers.add(name)

    def _weigh(self, name: str, tags: list[Tag]) -> None:
        """Note that code multiplies by a parameter, unless a layer that is a site does."""
        owner = self.stack[-1][0]
        if owner in self.layers or "parametrizations" in owner.split("."):
            return
        for tag in tags:
            if not tag.weight:
                continue
            used = f"{name.strip('_')} in '{owner}', {calling_line(sys._getframe(2))}"
            layer = tag.weight.rpartition(".")[0] or ROOT
            if layer in self.layers:
                self.result.sites[layer].used_by = used
            else:
                self.result.weights.setdefault(tag.weight, used)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = list(tensors((args, kwargs)))
        tags = [self.tag(t) for t in inputs]
        name = plain_name(func)
        if name in MULTIPLY and self.stack:
            matrices = [tag for t, tag in zip(inputs, tags, strict=True) if t.dim() > 1]
            self._weigh(name, matrices if any(tag.weight for tag in matrices) else tags)
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
        drawing = drawing_name(func, kwargs)
        if drawing:
            self.drew(drawing, calling_line(sys._getframe(1)))
        if drawing and self.extremes is not None:
            output = self.extremes(func, args, kwargs)
        else:
            output = func(*args, **kwargs)
        for product in self.running:
            product.see(name, inputs, tags, output, self.stack[-1][0])
        tag = combine(name, inputs, tags)
        if is_plain_dropout(func) and self.stack and rate_of(func, args, kwargs):
            tag = replace(tag, dropped_by=self.stack[-1][0])
        changed = output if output is not None else args[:1]  # x[i] = y returns nothing
        for tensor in tensors(changed):
            if not isinstance(tensor, nn.Parameter):
                self.tags[tensor] = tag
        return output
