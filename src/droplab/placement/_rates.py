"""The rates of whatever drops in a model: read them, change them, silence them."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from torch import nn

from droplab.errors import ArgumentError, PlacementError, nearest, quote
from droplab.placement._drawn import Drawn
from droplab.placement._entries import Entry, entries, is_unclear, path_of, seen
from droplab.placement._override import Told, functions_silenced, suspended
from droplab.placement._select import spell
from droplab.placement._table import as_text, table
from droplab.placement._walk import inner, unique
from droplab.probability import check_p


class Rates(Mapping[str, float]):
    """The rates of a model by name; print them to see a table.

    Args:
        found: The entries, in the order of the model's modules, function calls last.
        random: What draws in the example by no rate that can be set, and how often.
    """

    def __init__(self, found: Sequence[Entry], random: Sequence[tuple[Drawn, int]] = ()) -> None:
        self.entries = tuple(found)
        self.random = tuple(random)
        self._by_name = {entry.name: entry.p for entry in found}

    def __getitem__(self, name: str) -> float:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __rich__(self) -> RenderableType:
        return _shown(self.entries, self.random)

    def __str__(self) -> str:
        return as_text(_shown(self.entries, self.random))

    def __repr__(self) -> str:
        return f"Rates({self._by_name})"


def rates(model: nn.Module, example: Any = None) -> Rates:
    """Return every drop rate of a model: placed sites, modules, float attributes, functions.

    Args:
        model: Any module; wrappers of `torch.compile` and DDP are looked through.
        example: A batch to run once, to see functions that drop inside `forward`, such as
            `F.dropout(x, 0.5)`. What was seen once is remembered for later calls.

    Returns:
        A mapping of names to rates. A dropout module has its path for a name, an attribute such
        as that of `nn.LSTM(dropout=)` its path and name ("lstm.dropout"), a function the path of
        the module whose `forward` calls it ("block.F.dropout", the second one
        "block.F.dropout#2"). A function whose rate comes from a module or an attribute is not
        listed a second time. Under `random` stands what draws by nothing that has a name here.

    Raises:
        PlacementError: If the model does not run on the example.

    Example:
        >>> from torch import nn
        >>> rates(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.LSTM(8, 8)))
        Rates({'1': 0.1, '2.dropout': 0.0})
    """
    found = entries(model, example)
    return Rates(found, seen(model).random)


def set_rate(model: nn.Module, pattern: Any, p: float, example: Any = None) -> dict[str, float]:
    """Change the rate of everything that `pattern` means, and return what it was.

    Args:
        model: Any module.
        pattern: A name as `rates` lists it, a glob, a regular expression (compiled, or "re:..."),
            or a type of dropout module (`nn.Dropout`, or "type:Dropout").
        p: The new drop probability.
        example: A batch to run once, if a function is meant that `rates` has not seen yet.

    Returns:
        The rates before, by name.

    Raises:
        PlacementError: If nothing matches, or `p` is no probability.

    Example:
        >>> from torch import nn
        >>> set_rate(nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2)), "*", 0.3)
        {'0': 0.1, '1': 0.2}
    """
    try:
        p = check_p(p, where=f"set_rate: {spell(pattern)}")
    except ArgumentError as error:
        raise PlacementError(str(error)) from None
    found = entries(model, example)
    hits = [entry for entry in found if means(pattern, entry)]
    if not hits:
        raise PlacementError(no_match("set_rate", pattern, found))
    before = {entry.name: entry.p for entry in hits}
    for entry in hits:
        entry.write(p)
    return before


@contextmanager
def disabled(model: nn.Module, example: Any = None) -> Iterator[None]:
    """Let nothing in `model` drop inside the `with` block, in training mode too.

    Every rate is 0 inside and comes back after, that of functions called in `forward` as well. A
    module that draws by no rate that could be set runs as in eval mode, if an example has shown
    that it then draws nothing that matters. What still draws is named in a warning at the end.

    Args:
        model: Any module.
        example: A batch to run once, as in `rates`, for dropout that only running shows.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Dropout(0.5))
        >>> with disabled(model):
        ...     model(torch.ones(3))
        tensor([1., 1., 1.])
    """
    model = inner(model)
    stored = [entry for entry in entries(model, example) if entry.what != "function"]
    before = [
        (entry, entry.p if entry.what == "site" else getattr(entry.module, entry.key))
        for entry in stored
    ]
    quiet = _in_eval(model)
    flags = [(module, module.training) for module in model.modules()]
    told = Told()
    with suspended(model):
        try:
            for entry, _ in before:
                entry.write(0.0)
            for module in quiet:
                module.training = False
            with functions_silenced(model, told):
                yield
        finally:
            others = [m.training for m, flag in flags if m not in quiet and m.training != flag]
            for module, flag in flags:  # unless train or eval was called inside
                if module in quiet:
                    module.training = others[0] if others else flag
            for entry, p in before:
                entry.restore(p)
    owners = {path_of(entry) for entry in stored} | {each.owner for each in seen(model).drops}
    owners -= {drawn.owner for drawn, _ in seen(model).random}  # a rate, but not of this draw
    left = [drawn for drawn in told.drawn if drawn.owner not in owners]
    if left:
        places = ", ".join(f"{each.function} in '{each.owner}' ({each.where})" for each in left[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        hint = "" if example is not None else "; disabled(model, example) may find out how"
        warnings.warn(
            f"disabled: what draws random numbers by no rate that is known still does: {places}"
            f"{more}{hint}",
            stacklevel=3,
        )


def _in_eval(model: nn.Module) -> set[nn.Module]:
    """Return the modules that drop by no rate that could be set, and do not in eval mode."""
    flagged = {each.owner for each in seen(model).drops if not each.keys and not each.idle}
    clear = {each.owner for each in seen(model).drops if each.keys or each.idle}
    return {
        module
        for module, names in unique(model).items()
        if names[0] in flagged or (names[0] not in clear and is_unclear(module))
    }


def means(pattern: Any, entry: Entry) -> bool:
    """Say whether a pattern, as `set_rate` takes it, means a rate."""
    names = (entry.name, *entry.aliases)
    if isinstance(pattern, type):
        return entry.what == "module" and isinstance(entry.module, pattern)
    if isinstance(pattern, re.Pattern):
        return any(pattern.fullmatch(name) for name in names)
    if not isinstance(pattern, str):
        raise PlacementError(
            f"set_rate: expected a name, a pattern or a type, got {quote(pattern)}"
        )
    if pattern.startswith("type:"):
        return entry.what == "module" and entry.owner == pattern[5:]
    if pattern.startswith("re:"):
        return any(re.fullmatch(pattern[3:], name) for name in names)
    return pattern in names or any(fnmatch.fnmatchcase(name, pattern) for name in names)


def no_match(where: str, pattern: Any, found: Sequence[Entry]) -> str:
    """Say that a pattern means no rate, and what it may have meant."""
    text = spell(pattern)
    if not found:
        return (
            f"{where}: '{text}' matches nothing, the model has no drop rate; place some with "
            "plan(model, ...), or give an example to find functions that drop in forward"
        )
    hint = nearest(text, [entry.name for entry in found])
    unseen = (
        ""
        if any(e.what == "function" or e.calls is not None for e in found)
        else ("; functions such as F.dropout have a name once an example has been run")
    )
    return f"{where}: '{text}' matches no rate{hint}{unseen}"


def _shown(entries: Sequence[Entry], random: Sequence[tuple[Drawn, int]]) -> RenderableType:
    shown = table("name", "what", "in", "rate", "calls")
    for entry in entries:
        calls = "" if entry.calls is None else str(entry.calls)
        shown.add_row(Text(entry.name), entry.what, entry.owner, f"{entry.p:g}", calls)
    if not random:
        return shown
    loose = table("in", "draws by", "at", "calls")
    for drawn, count in random:
        loose.add_row(Text(drawn.owner), drawn.function, Text(drawn.where), str(count))
    head = Text("Random, not a rate that droplab can set", "bold")
    return Group(shown, Text(), head, loose) if entries else Group(head, loose)
