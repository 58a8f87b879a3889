"""Residual branches: what a model adds to its own hidden values, found by watching it run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from droplab.errors import PlacementError
from droplab.placement._sites import Site, Sites
from droplab.placement._tags import plain_name, tensors
from droplab.placement._trace import as_call, example_fails
from droplab.placement._untouched import untouched
from droplab.placement._walk import BRANCH, inner, paths, unique

_SUMS = frozenset({"add", "iadd", "radd", "__add__", "__radd__", "__iadd__"})

_LINEAR = frozenset(
    {
        *("__get__", "broadcast_to", "clone", "contiguous", "double", "flatten", "float", "half"),
        *("movedim", "moveaxis", "permute", "reshape", "roll", "squeeze", "swapaxes", "to"),
        *("transpose", "type", "unflatten", "unsqueeze", "view", "view_as", "pad", "neg", "mul"),
        *("__mul__", "__rmul__", "__imul__", "imul", "multiply", "div", "__truediv__", "truediv"),
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"),
    }
)
"""Functions by which a dropped branch stays dropped: what is zero stays zero, and scales stay."""

_WHY = "whole samples of a residual branch, which is stochastic depth"


@dataclass(eq=False)
class _Node:
    """One value that depends on the model's input.

    Attributes:
        index: Its place among them.
        up: Bits of all values that it was made of, its own among them.
        ends: Paths of the layers whose output it is, through linear functions, each with the values
            from that output on.
        terms: Values that it is the sum of, and itself.
        uses: How many functions have read it.
    """

    index: int
    up: int
    ends: tuple[tuple[str, tuple[_Node, ...], tuple[int, ...]], ...] = ()
    terms: tuple[_Node, ...] = ()
    uses: int = 0


@dataclass
class _Found:
    """What is known of one layer that ends branches."""

    at: dict[int, _Node] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    whole: bool = True
    """Whether nothing else reads what it returns."""


def branches(model: nn.Module, example: Any) -> Sites:
    """Return the residual branches of a model in the order in which they run.

    A branch is what is added to a value that it was made of, or to a shortcut with fewer weights
    from the same hidden values. It has the name of the outermost layer that returns it, after
    "path/".

    Args:
        model: Any module; wrappers of `torch.compile` and DDP are looked through.
        example: A batch to run, as `sites` takes it.

    Raises:
        PlacementError: If the model cannot take hooks, or the example does not run.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         return x + self.fc(x)
        >>> model = nn.Sequential(nn.Linear(4, 4), Block(), Block())
        >>> [site.name for site in branches(model, torch.zeros(2, 4))]
        ['path/1.fc', 'path/2.fc']
    """
    model = inner(model)
    found, calls, size = _record(model, example)
    try:  # which axis is that of the samples is told by one sample more
        again = _record(model, _one_more(example, size))[0]
    except PlacementError:
        again = {}  # it takes batches of this size alone
    layers = {names[0]: (module, names) for module, names in unique(model).items()}
    sites: list[Site] = []
    for path, one in found.items():
        module, names = layers[path]
        more = again[path].shape if path in again else ()
        counts = one.shape[:1] == (size,) and (
            more[:1] == (size + 1,) if more else one.shape.count(size) == 1
        )
        refused = ""
        if not one.whole:
            refused = "its output goes elsewhere, too"
        elif len(one.at) < calls[path]:
            refused = "not every call of it ends a residual branch"
        elif not counts:
            refused = "the first axis of its output is not that of the samples"
        sites.append(
            Site(
                name=BRANCH + path,
                layer=type(module).__name__,
                role="branch",
                kind="path",
                why=_WHY,
                refused=refused,
                assumed=False,
                aliases=tuple(BRANCH + name for name in names[1:]),
                calls=calls[path],
                shape=one.shape,
            )
        )
    return Sites(sites)


def named_branches(model: nn.Module, names: Sequence[str]) -> tuple[Site, ...]:
    """Return the branches of these names, "path/..." each, without running the model.

    They are assumed to be some: whoever names them has seen them in an example.
    """
    where = paths(model)
    known = [name for name in names if name.removeprefix(BRANCH) in where]
    return tuple(
        Site(
            name=name,
            layer=type(where[name.removeprefix(BRANCH)]).__name__,
            role="branch",
            kind="path",
            why=_WHY,
        )
        for name in known
    )


def _one_more(example: Any, size: int) -> Any:
    """Return the batch with its last sample twice."""

    def longer(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.cat([value, value[-1:]]) if value.shape[:1] == (size,) else value
        if isinstance(value, Mapping):
            return {key: longer(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
            return tuple(longer(item) for item in cast("Sequence[Any]", value))
        return value

    return longer(example)


def _record(model: nn.Module, example: Any) -> tuple[dict[str, _Found], Counter[str], int]:
    """Return what ends branches, how often each layer was called, and the samples of the batch."""
    args, kwargs = as_call(example)
    recorder = _Recorder(unique(model))
    with example_fails(model, (args, kwargs)), untouched(model), recorder.hooked(), recorder:
        given = list(tensors((args, kwargs)))
        for tensor in given:
            recorder.add(tensor)
        model(*args, **kwargs)
    size = next((len(tensor) for tensor in given if tensor.dim()), 0)
    return recorder.found(size), recorder.calls, size


class _Recorder(TorchFunctionMode):
    def __init__(self, modules: Mapping[nn.Module, list[str]]) -> None:
        super().__init__()
        self.modules = modules
        self.nodes = WeakTensorKeyDictionary()
        self.count = 0
        self.weights = 0
        """Bits of the values that a function made with parameters."""
        self.hidden = 0
        """Bits of the values that have parameters behind them."""
        self.calls: Counter[str] = Counter()
        self.branches: dict[int, _Node] = {}

    def node(self, x: Tensor) -> _Node | None:
        return cast("_Node | None", self.nodes.get(x))

    def add(self, x: Tensor, inputs: Sequence[_Node] = (), *, weighs: bool = False) -> _Node:
        """Note a value, and what it was made of."""
        bit = 1 << self.count
        up = bit
        for each in inputs:
            up |= each.up
        if weighs:
            self.weights |= bit
        if up & self.weights:
            self.hidden |= bit
        made = _Node(self.count, up)
        made.terms = (made,)
        self.count += 1
        self.nodes[x] = made
        return made

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch what every module returns, the innermost one first."""
        with ExitStack() as stack:
            for module, names in self.modules.items():
                if not isinstance(module, torch.jit.ScriptModule):
                    stack.callback(module.register_forward_hook(self._leaving(names[0])).remove)
            yield

    def _leaving(self, path: str) -> Any:
        def leave(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.calls[path] += 1
            first: Any = output[0] if isinstance(output, tuple | list) and output else output
            node = self.node(first) if isinstance(first, Tensor) else None
            if node is not None:
                node.ends = (*node.ends, (path, (node,), tuple(first.shape)))

        return leave

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors((args, kwargs)))
        inputs = [node for t in given if (node := self.node(t)) is not None]
        output = func(*args, **kwargs)
        name = plain_name(func)
        changed = list(tensors(output if output is not None else args[:1]))
        if not inputs or not changed or name.startswith("new_") or name.endswith("_like"):
            return output
        for node in inputs:
            node.uses += 1
        weighs = any(isinstance(t, nn.Parameter) for t in given)
        for tensor in changed:
            if isinstance(tensor, nn.Parameter):
                continue
            made = self.add(tensor, inputs, weighs=weighs and name not in _LINEAR)
            if name in _LINEAR and len(inputs) == 1:
                ends = inputs[0].ends
                made.ends = tuple((path, (*chain, made), shape) for path, chain, shape in ends)
            if name in _SUMS and len(inputs) == 2 and _alike(given):
                made.terms = (*inputs[0].terms, *inputs[1].terms, made)
                self._sum(inputs[0], inputs[1])
        return output

    def _sum(self, one: _Node, two: _Node) -> None:
        """Look for branches among the terms of a sum."""
        found = [
            term
            for here, there in ((one, two), (two, one))
            for term in here.terms
            if any(term.up >> skip.index & 1 and self._own(term, skip) for skip in there.terms)
        ]
        if not found and one.up & two.up & self.hidden:
            difference = self._own(one, two) - self._own(two, one)
            found = [one] if difference > 0 else [two] if difference < 0 else []
        for term in found:
            self.branches[term.index] = term

    def _own(self, one: _Node, other: _Node) -> int:
        """Return how many weights one value has behind it that another one has not."""
        return (one.up & ~other.up & self.weights).bit_count()

    def found(self, size: int) -> dict[str, _Found]:
        """Return the layers that end branches, each with the values that it ends."""
        layers: dict[str, _Found] = {}
        for node in self.branches.values():
            ends = [(p, all(n.uses == 1 for n in chain), s) for p, chain, s in node.ends]
            if not ends:
                continue
            best = [end for end in ends if end[1] and end[2][:1] == (size,)] or ends
            path, whole, shape = best[-1]
            layer = layers.setdefault(path, _Found(shape=shape))
            layer.at[node.index] = node
            layer.whole &= whole
        return layers


def _alike(given: Sequence[Tensor]) -> bool:
    return len({tuple(t.shape) for t in given}) == 1 and all(t.is_floating_point() for t in given)
