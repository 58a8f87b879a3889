"""Everything in a model that has a drop rate: sites, modules, attributes and function calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from droplab.errors import PlacementError
from droplab.placement._drawn import Drawn
from droplab.placement._effect import Drops, effects, holder_of
from droplab.placement._hook import site_hooks
from droplab.placement._layers import is_dropout, is_own
from droplab.placement._override import functions_silenced, overridden, override, suspended
from droplab.placement._trace import CallRecord, trace
from droplab.placement._walk import ROOT, inner, paths, unique

_RATE_NAMES = ("p", "drop_prob", "drop_rate", "dropout", "rate", "prob", "drop_p")
"""What dropout modules call their rate."""

_KEEP_NAMES = ("keep_prob", "keep_rate", "keep", "survival_prob", "survival_rate", "p_survival")
"""What they call the probability of keeping."""

_UNCLEAR = ("p", "rate", "prob")
"""Names that may be those of a probability of dropping or of keeping."""

_KEEP = re.compile(r"(^|_)(keep|kept|survival|survive)(_|$)")

_ATTRIBUTE = re.compile(r"(^|_)(drop|dropout|layerdrop|dropconnect|droppath)(_|$)")
_NO_RATE = re.compile(r"(idx|index|size|count|num|steps?|schedule|mode|type|seed)(_|$)")


@dataclass(frozen=True)
class Seen:
    """What an example has shown of the dropping in a model.

    Args:
        functions: Calls whose rate nothing explains, and how many there were of each.
        places: By the name of a rate, paths of the modules whose `forward` drops by it.
        others: Paths of the modules that draw random numbers and have no rate.
        drops: How the draws of modules are silenced that no name tells.
        random: Draws that no rate is known for, and how many there were of each.
    """

    functions: tuple[tuple[CallRecord, int], ...] = ()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    drops: tuple[Drops, ...] = ()
    random: tuple[tuple[Drawn, int], ...] = ()


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
        keep: Whether the model has it as a probability of keeping, 1 - p.
    """

    name: str
    what: str
    owner: str
    p: float
    calls: int | None = None
    aliases: tuple[str, ...] = ()
    keep: bool = False
    module: Any = field(default_factory=nn.Identity, repr=False, compare=False)
    key: Any = field(default=None, repr=False, compare=False)

    def write(self, p: float) -> None:
        """Change the rate in the model."""
        if self.what == "site":
            self.key.p.fill_(p)
        elif self.what == "function":
            override(self.module, self.key[:2], p, self.key[2])
        else:
            try:
                setattr(self.module, self.key, 1 - p if self.keep else p)
            except AttributeError:
                raise PlacementError(
                    f"{self.name}: expected a rate that can be set, got the read-only attribute "
                    f"'{self.key}' of {self.owner}; build the module with another rate"
                ) from None

    def restore(self, value: Any) -> None:
        """Give back what stood in the model before `write`."""
        if self.what == "site":
            self.key.p.fill_(value)
        elif self.what != "function":
            setattr(self.module, self.key, value)


def entries(model: nn.Module, example: Any = None) -> list[Entry]:
    """Return every rate of a model, those in function calls as far as an example has shown them."""
    model = inner(model)
    found = _stored(model)
    if example is not None:
        found, counts = _record_calls(model, example, found)
        found = [
            entry if entry.what == "site" else replace(entry, calls=counts[entry.name])
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
    """Return the rates that modules have as attributes, by their names or by what they do."""
    found: list[Entry] = []
    drops = {each.owner: each for each in seen(model).drops}
    held: set[tuple[int, str]] = set()
    for module, names in unique(model).items():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        owner = type(module).__name__
        found += [
            Entry(hook.name, "site", owner, float(hook.p), module=module, key=hook)
            for hook in site_hooks(module)
        ]
        known = drops.get(names[0], Drops(names[0]))
        keys = [key for key in known.keys if key.rpartition(".")[2]]
        alone = False
        if is_dropout(module) and not keys:
            named = (*_RATE_NAMES, *_KEEP_NAMES)
            keys = [name for name in named if _is_rate(module, name)][:1]
            alone = bool(keys)
        if not alone:
            keys += [
                key
                for key in vars(module)
                if _ATTRIBUTE.search(key)
                and not _NO_RATE.search(key)
                and _is_rate(module, key)
                and key not in keys
            ]
        alone = alone or (len(keys) == 1 and is_dropout(module))
        for key in keys:
            holder, name = holder_of(module, key)
            if (id(holder), name) in held or not _is_rate(holder, name):
                continue
            held.add((id(holder), name))
            keep = known.keep if key in known.keys else bool(_KEEP.search(name))
            value = float(getattr(holder, name))
            called = names if alone else [key if n == ROOT else f"{n}.{key}" for n in names]
            found.append(
                Entry(
                    name=called[0],
                    what="module" if alone else "attribute",
                    owner=owner,
                    p=1 - value if keep else value,
                    aliases=tuple(called[1:]),
                    keep=keep,
                    module=holder,
                    key=name,
                )
            )
    return found


def is_unclear(module: nn.Module) -> bool:
    """Whether a module's name says that it drops, and no name whether its rate is one of keeping.

    It is put into eval mode to silence it, for its rate at 0 may drop everything.
    """
    if not is_dropout(module) or _is_torchs(module):
        return False
    known = (*_RATE_NAMES, *_KEEP_NAMES)
    return next((n for n in known if _is_rate(module, n)), "p") in _UNCLEAR


def _is_torchs(module: nn.Module) -> bool:
    return is_own(module) or type(module).__module__.startswith("torch.nn.")


def _is_rate(module: Any, name: str) -> bool:
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
                module=module,
                key=(call.name, call.index, call.p),
            )
        )
    return found


def _function_name(call: CallRecord) -> str:
    suffix = f"F.{call.name}" + (f"#{call.index + 1}" if call.index else "")
    return suffix if call.owner == ROOT else f"{call.owner}.{suffix}"


def _record_calls(
    model: nn.Module, example: Any, stored: list[Entry]
) -> tuple[list[Entry], Counter[str]]:
    """Run the example, remember what it shows, and count what each stored rate was used for.

    Every stored rate is moved by a hair to a value of its own, so that a rate that arrives at a
    function tells where it came from, also after `float(...)`. What draws otherwise is tried out.
    """
    marked: dict[float, Entry] = {}
    originals = [
        (entry, getattr(entry.module, entry.key))
        for entry in stored
        if entry.what != "site" and not is_own(entry.module)
    ]
    taken = {float(value) for _, value in originals}
    with suspended(model):
        try:
            for entry, original in originals:
                value = _beside(float(original), taken)
                taken.add(value)
                marked[value] = entry
                if 1 - value != 1 - float(original):
                    marked.setdefault(1 - value, entry)
                _put(entry, value)
            shown = trace(model, example)
        finally:
            for entry, value in originals:
                _put(entry, value)
        drops, lost = _tried_out(model, example, stored, shown.drawn)
    remember(model, replace(seen(model), drops=drops))
    stored = _stored(model)
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
    users = _users(model, stored, drops)
    keyed = Counter(shown.draws)
    hand = Counter(drawn.owner for drawn in shown.drawn.elements())
    for owner in (*keyed, *(o for o in hand if o not in keyed)):
        mine = users.get(owner, [])
        counts.update(dict.fromkeys(mine, max(keyed[owner], hand[owner])))
        for name in mine:
            places.setdefault(name, {})[owner] = None
        if not mine and owner in keyed:
            others[owner] = None
    merged: dict[tuple[str, str, int], tuple[CallRecord, int]] = {}
    for call, count in unexplained.items():
        key = (call.owner, call.name, call.index)
        first, before_count = merged.get(key, (call, 0))
        merged[key] = (first, before_count + count)
    found = {name: tuple(where) for name, where in places.items()}
    explained = {each.owner for each in drops if each.keys or each.idle}
    explained |= users.keys() - {each.owner for each in drops} - lost
    loose = tuple((d, n) for d, n in shown.drawn.items() if d.owner not in explained)
    remember(model, Seen(tuple(merged.values()), found, tuple(others), drops, loose))
    return stored, counts


def _put(entry: Entry, value: Any) -> None:
    try:
        setattr(entry.module, entry.key, value)
    except AttributeError:
        entry.write(entry.p)  # says what is read-only


def _users(model: nn.Module, stored: list[Entry], drops: Sequence[Drops]) -> dict[str, list[str]]:
    """Return by the path of a module the names of the rates by which it draws."""
    users: dict[str, list[str]] = {}
    named: dict[tuple[int, str], str] = {}
    for entry in stored:
        if entry.what != "site":
            users.setdefault(path_of(entry), []).append(entry.name)
            named[id(entry.module), entry.key] = entry.name
    modules = paths(model)
    for each in drops:
        for key in each.keys:
            holder, name = holder_of(modules[each.owner], key)
            mine = users.setdefault(each.owner, [])
            if (id(holder), name) in named and named[id(holder), name] not in mine:
                mine.append(named[id(holder), name])
    return users


def _tried_out(
    model: nn.Module, example: Any, stored: list[Entry], drawn: Counter[Drawn]
) -> tuple[tuple[Drops, ...], set[str]]:
    """Return how the draws are silenced that no name tells, or only one that may mean either.

    The paths of modules come along that nothing silences.
    """
    modules = paths(model)
    known = {each.owner: each for each in seen(model).drops}
    mine: dict[str, list[Entry]] = {}
    for entry in stored:
        if entry.what != "site":
            mine.setdefault(path_of(entry), []).append(entry)
    owners = {
        each.owner: None
        for each in drawn
        if each.owner not in known
        and all(entry.key in _UNCLEAR or not entry.p for entry in mine.get(each.owner, []))
        and not _is_torchs(modules[each.owner])
    }
    if not owners:
        return tuple(known.values()), set()

    @contextmanager
    def silence() -> Iterator[None]:
        rest = [
            (entry, entry.p if entry.what == "site" else getattr(entry.module, entry.key))
            for entry in stored
            if path_of(entry) not in owners
        ]
        try:
            for entry, _ in rest:
                entry.write(0.0)
            with functions_silenced(model):
                yield
        finally:
            for entry, value in rest:
                entry.restore(value)

    found = effects(model, example, list(owners), silence)
    named = {path for path in owners if any(entry.p for entry in mine.get(path, []))}
    return (*known.values(), *found), owners.keys() - {each.owner for each in found} - named


def path_of(entry: Entry) -> str:
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
