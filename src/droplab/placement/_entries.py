"""Everything in a model that has a drop rate: sites, modules, attributes and function calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from droplab.errors import PlacementError
from droplab.placement._hook import SiteHook
from droplab.placement._layers import is_dropout, is_own
from droplab.placement._override import overridden, override, suspended
from droplab.placement._trace import CallRecord, trace
from droplab.placement._walk import ROOT, inner, unique

_RATE_NAMES = ("p", "drop_prob", "drop_rate", "dropout", "rate")
"""What dropout modules call their rate."""

_ATTRIBUTE = re.compile(r"(^|_)(drop|dropout|layerdrop|dropconnect|droppath)(_|$)")
_NO_RATE = re.compile(r"(idx|index|size|count|num|steps?|schedule|mode|type|seed)(_|$)")


@dataclass(frozen=True)
class Seen:
    """What an example has shown of the dropping in a model.

    Args:
        functions: Calls whose rate nothing explains, and how many there were of each.
        places: By the name of a rate, paths of the modules whose `forward` drops by it.
        others: Paths of the modules that draw random numbers and have no rate.
    """

    functions: tuple[tuple[CallRecord, int], ...] = ()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()


_seen: WeakKeyDictionary[nn.Module, Seen] = WeakKeyDictionary()
"""What an example has shown, so that `set_rate` can name function calls later."""


@dataclass(frozen=True)
class Entry:
    """One drop rate in a model.

    Args:
        name: What `set_rate` calls it: a path, for a function call the path of the module whose
            `forward` makes it and the function, "block.F.dropout".
        what: "site", "module", "attribute" or "function".
        owner: Class name of the module that has it.
        p: The rate.
        calls: How often the rate was used by a function in the example; None without one.
        aliases: Other paths of the same thing.
    """

    name: str
    what: str
    owner: str
    p: float
    calls: int | None = None
    aliases: tuple[str, ...] = ()
    module: nn.Module = field(default_factory=nn.Identity, repr=False, compare=False)
    key: Any = field(default=None, repr=False, compare=False)

    def write(self, p: float) -> None:
        """Change the rate in the model."""
        if self.what == "site":
            self.key.p.fill_(p)
        elif self.what == "function":
            override(self.module, self.key[:2], p, self.key[2])
        else:
            try:
                setattr(self.module, self.key, p)
            except AttributeError:
                raise PlacementError(
                    f"{self.name}: expected a rate that can be set, got the read-only attribute "
                    f"'{self.key}' of {self.owner}; build the module with another rate"
                ) from None


def entries(model: nn.Module, example: Any = None) -> list[Entry]:
    """Return every rate of a model, those in function calls as far as an example has shown them."""
    model = inner(model)
    found = _stored(model)
    if example is not None:
        counts = _record_calls(model, example, found)
        found = [
            entry if entry.what == "site" else Entry(**{**vars(entry), "calls": counts[entry.name]})
            for entry in found
        ]
    return found + _function_entries(model)


def seen(model: nn.Module) -> Seen:
    """Return what the last example has shown of a model."""
    return _seen.get(inner(model), Seen())


def remember(model: nn.Module, shown: Seen) -> None:
    """Take what an example has shown of another model of the same architecture."""
    _seen[inner(model)] = shown


def _stored(model: nn.Module) -> list[Entry]:
    found: list[Entry] = []
    for module, names in unique(model).items():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        owner = type(module).__name__
        found += [
            Entry(hook.name, "site", owner, float(hook.p), None, (), module, hook)
            for hook in module._forward_pre_hooks.values()
            if isinstance(hook, SiteHook)
        ]
        if is_dropout(module):
            key = next((name for name in _RATE_NAMES if _is_rate(module, name)), None)
            if key is not None:
                p = float(getattr(module, key))
                found.append(
                    Entry(names[0], "module", owner, p, None, tuple(names[1:]), module, key)
                )
                continue
        for key in vars(module):
            if _ATTRIBUTE.search(key) and not _NO_RATE.search(key) and _is_rate(module, key):
                paths = [key if name == ROOT else f"{name}.{key}" for name in names]
                p = float(getattr(module, key))
                found.append(
                    Entry(paths[0], "attribute", owner, p, None, tuple(paths[1:]), module, key)
                )
    return found


def _is_rate(module: nn.Module, name: str) -> bool:
    value = getattr(module, name, None)
    if isinstance(value, bool) or not isinstance(value, float | int):
        return False
    return 0 <= value <= 1


def _function_entries(model: nn.Module) -> list[Entry]:
    modules = {names[0]: module for module, names in unique(model).items()}
    found: list[Entry] = []
    for call, count in seen(model).functions:
        module = modules.get(call.owner)
        if module is None:
            continue
        found.append(
            Entry(
                _function_name(call),
                "function",
                type(module).__name__,
                overridden(module, (call.name, call.index), call.p),
                count,
                (),
                module,
                (call.name, call.index, call.p),
            )
        )
    return found


def _function_name(call: CallRecord) -> str:
    suffix = f"F.{call.name}" + (f"#{call.index + 1}" if call.index else "")
    return suffix if call.owner == ROOT else f"{call.owner}.{suffix}"


def _record_calls(model: nn.Module, example: Any, stored: list[Entry]) -> Counter[str]:
    """Run the example, remember the calls whose rate nothing explains, and count the others.

    Every stored rate is moved by a hair to a value of its own, so that a rate that arrives at a
    function tells where it came from, also after `float(...)`.
    """
    marked: dict[float, Entry] = {}
    taken = {entry.p for entry in stored}
    originals = [
        (entry, getattr(entry.module, entry.key))
        for entry in stored
        if entry.what != "site" and not is_own(entry.module)
    ]
    with suspended(model):
        try:
            for entry, _ in originals:
                value = _beside(entry.p, taken)
                taken.add(value)
                marked[value] = entry
                entry.write(value)
            shown = trace(model, example)
        finally:
            for entry, value in originals:
                setattr(entry.module, entry.key, value)
    unexplained = Counter[CallRecord]()
    counts = Counter[str]()
    places: dict[str, dict[str, None]] = {}
    for call in shown.calls:
        if call.p in marked:
            name = marked[call.p].name
            counts[name] += 1
        else:
            name = _function_name(call)
            unexplained[call] += 1
        places.setdefault(name, {})[call.owner] = None
    others: dict[str, None] = {}
    for owner in shown.draws:  # stochastic depth, for example, drops by a function of its own
        mine = [entry.name for entry in stored if _path(entry) == owner]
        counts.update(mine)
        for name in mine:
            places.setdefault(name, {})[owner] = None
        if not mine:
            others[owner] = None
    merged: dict[tuple[str, str, int], tuple[CallRecord, int]] = {}
    for call, count in unexplained.items():
        key = (call.owner, call.name, call.index)
        first, before = merged.get(key, (call, 0))
        merged[key] = (first, before + count)
    found = {name: tuple(paths) for name, paths in places.items()}
    remember(model, Seen(tuple(merged.values()), found, tuple(others)))
    return counts


def _path(entry: Entry) -> str:
    """Return the path of the module that has a rate; of a site, none."""
    if entry.what == "site":
        return ""
    if entry.what == "module":
        return entry.name
    path, _, _ = entry.name.rpartition(".")
    return path or ROOT


def _beside(p: float, taken: set[float]) -> float:
    """Return a rate next to `p` that nothing else has."""
    step = 1e-300 if p == 0 else -(2.0**-50) * p
    count = 1
    while p + count * step in taken:
        count += 1
    return p + count * step
