"""The dropout that a model has of its own: its rates, what uses them, and how they are changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from droplab.errors import PlacementError
from droplab.placement._entries import Entry, Seen, entries, remember, seen
from droplab.placement._rates import means, no_match
from droplab.placement._walk import inner, unique


@dataclass(frozen=True)
class OwnDropout:
    """The rates of a model as it is built, for all models of one architecture.

    It holds no module, so that it can be sent to another process.

    Args:
        entries: The rates, in the order of the model's modules, function calls last.
        shown: What an example has shown of them.
        order: Paths of all modules, in order.
    """

    entries: tuple[Entry, ...] = ()
    shown: Seen = field(default_factory=Seen)
    order: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, example: Any = None) -> OwnDropout:
        """Return what an example shows of a model.

        Args:
            model: The model, without dropout that was added.
            example: A batch to run once, as in `rates`; without one, functions are not seen.

        Raises:
            PlacementError: If the model does not run on the example.

        Example:
            >>> import torch
            >>> model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 2))
            >>> own = OwnDropout.of(model, torch.zeros(2, 4))
            >>> own.rates, own.changes({"*": 0.3})
            ({'1': 0.1}, {'1': 0.3})
        """
        found = tuple(
            replace(entry, module=nn.Identity(), key=None, calls=0)
            if _is_ignored(entry)
            else replace(entry, module=nn.Identity(), key=None)
            for entry in entries(model, example)
        )
        return cls(found, seen(model), tuple(names[0] for names in unique(inner(model)).values()))

    @property
    def rates(self) -> dict[str, float]:
        """The rates by which something drops: those that no code reads are left out."""
        return {entry.name: entry.p for entry in self.entries if entry.calls != 0}

    def changes(self, wanted: Mapping[str, float]) -> dict[str, float]:
        """Return which rates change when patterns get other rates, and to what.

        An exact name wins over patterns.

        Args:
            wanted: Name or pattern, as `set_rate` takes them, -> drop probability.

        Raises:
            PlacementError: If a pattern means no rate, or only such by which nothing drops, or two
                patterns mean one rate.
        """
        found: dict[str, float] = {}
        rules: dict[str, str] = {}
        exact = {name for entry in self.entries for name in _names(entry) if name in wanted}
        for pattern, p in wanted.items():
            hits = [entry for entry in self.entries if means(pattern, entry)]
            named = [entry for entry in hits if pattern in _names(entry)]
            hits = named or hits
            if not hits:
                raise PlacementError(no_match("existing", pattern, self.entries))
            if all(entry.calls == 0 for entry in hits):
                raise PlacementError(_unused(pattern, hits))
            for entry in hits:
                if not named and exact.intersection(_names(entry)):
                    continue
                if entry.name in found:
                    raise PlacementError(
                        f"existing: '{pattern}' and '{rules[entry.name]}' both mean "
                        f"'{entry.name}'; give one of them, or give '{entry.name}' by its name"
                    )
                found[entry.name], rules[entry.name] = p, pattern
        return found

    def write(self, model: nn.Module, changes: Mapping[str, float]) -> None:
        """Give rates of a model of this architecture other values.

        Args:
            model: The model.
            changes: As `changes` returns them.

        Raises:
            PlacementError: If the model has no such rate, or one that cannot be set.
        """
        if not changes:
            return
        remember(model, self.shown)
        there = {entry.name: entry for entry in entries(model)}
        for name, p in changes.items():
            if name not in there:
                raise PlacementError(
                    f"existing: '{name}' was in the first model that was built and is not in "
                    "another; build the same architecture at each call"
                )
            there[name].write(p)

    def drawing(self, changes: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
        """Return the paths of the modules that draw random numbers, with any of some changes."""
        paths = set(self.shown.others)
        for each in changes:
            rates = {entry.name: entry.p for entry in self.entries} | dict(each)
            for name, p in rates.items():
                if p > 0:
                    paths.update(self.shown.places.get(name, ()))
        return tuple(path for path in self.order if path in paths)


def _names(entry: Entry) -> tuple[str, ...]:
    return (entry.name, *entry.aliases)


def _is_ignored(entry: Entry) -> bool:
    return isinstance(entry.module, nn.RNNBase) and entry.module.num_layers == 1


def _unused(pattern: str, hits: list[Entry]) -> str:
    names = ", ".join(f"'{entry.name}'" for entry in hits[:3])
    more = f" and {len(hits) - 3} more" if len(hits) > 3 else ""
    one = all(entry.owner in ("LSTM", "GRU", "RNN") for entry in hits)
    why = (
        "a recurrent layer drops between its layers, and has one"
        if one
        else "nothing that the model runs in training drops by it"
    )
    return f"existing: '{pattern}' means {names}{more}, and {why}; leave it out"
