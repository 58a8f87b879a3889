"""Which sites a set of rates means: names, globs, regular expressions, types and depth."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from droplab.errors import ArgumentError, PlacementError, nearest, quote
from droplab.placement._sites import Site
from droplab.placement._walk import BRANCH
from droplab.probability import check_p

Pattern = "str | re.Pattern[str] | type"


@dataclass(frozen=True)
class Ramp:
    """Rates that change evenly with depth, from the first matching site to the last.

    Args:
        first: Rate at the first matching site.
        last: Rate at the last one.

    Example:
        >>> Ramp(0.1, 0.3).at(3)
        [0.1, 0.2, 0.3]
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        check_p(self.first, where="Ramp.first")
        check_p(self.last, where="Ramp.last")

    def at(self, count: int) -> list[float]:
        """Return the rates of `count` sites."""
        if count == 1:
            return [self.last]
        step = (self.last - self.first) / (count - 1)
        return [round(self.first + step * i, 6) for i in range(count)]


Rate = float | Ramp | Mapping[str, float]


def spell(pattern: Any) -> str:
    """Return how a pattern is written in messages and in TOML."""
    if isinstance(pattern, re.Pattern):
        return f"re:{pattern.pattern}"
    if isinstance(pattern, type):
        return f"type:{pattern.__name__}"
    return str(pattern)


def is_exact(pattern: Any, site: Site) -> bool:
    """Say whether `pattern` is a name of `site`, letter for letter."""
    return isinstance(pattern, str) and (pattern == site.name or pattern in site.aliases)


def matches(pattern: Any, site: Site, bases: Sequence[type]) -> bool:
    """Say whether `pattern` means `site`, whose layer has the classes `bases`."""
    if isinstance(pattern, type):
        return pattern in bases
    names = (site.name, *site.aliases)
    if isinstance(pattern, re.Pattern):
        return any(pattern.fullmatch(name) for name in names)
    if pattern.startswith("re:"):
        return any(_compile(pattern).fullmatch(name) for name in names)
    if pattern.startswith("type:"):
        return any(cls.__name__ == pattern[5:] for cls in bases)
    if is_exact(pattern, site):
        return True
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern[3:])
    except re.error as error:
        raise PlacementError(
            f"rates: expected a regular expression after 're:', got {quote(pattern[3:])}, which "
            f"does not compile: {error}"
        ) from None


@dataclass(frozen=True)
class Choice:
    """A site that a rule chose."""

    site: Site
    p: float
    rule: str


def choose(found: Sequence[Site], rates: Any, bases: Mapping[str, Sequence[type]]) -> list[Choice]:
    """Return the sites that `rates` means, in their own order.

    An exact name wins over patterns. The model's own input is chosen by an exact name only. A
    layer that a BatchNorm follows is chosen by a name, a type or a pattern that means fewer than
    all sites.

    Args:
        found: The model's sites.
        rates: One number or `Ramp` for every hidden site, or a mapping of patterns to rates.
        bases: For each site, the classes of its layer.

    Raises:
        PlacementError: If a rule matches no site, or two rules mean one site.
    """
    if isinstance(rates, Real | Ramp) and not isinstance(rates, bool):
        rules: Mapping[Any, Rate] = {"*": rates}  # pyright: ignore[reportAssignmentType]
    elif isinstance(rates, Mapping):
        rules = rates
    else:
        raise PlacementError(
            "rates: expected a number, a Ramp or a mapping of sites to rates, "
            f"got {type(rates).__name__}"
        )
    chosen: dict[str, Choice] = {}
    exact = _exact(found, rules)
    for pattern, rate in rules.items():
        if not isinstance(pattern, str | re.Pattern | type):
            raise PlacementError(
                f"rates: expected names, patterns or layer types, got {quote(pattern)}"
            )
        hits = _hits(found, pattern, bases, exact)
        for site, p in zip(hits, _rates(pattern, rate, len(hits)), strict=True):
            if site.name in chosen:
                raise PlacementError(
                    f"rates: '{spell(pattern)}' and '{chosen[site.name].rule}' both mean the site "
                    f"'{site.name}'; give one of them, or give '{site.name}' a rate by its name"
                )
            chosen[site.name] = Choice(site, p, spell(pattern))
    return [chosen[site.name] for site in found if site.name in chosen]


def _exact(found: Sequence[Site], rules: Mapping[Any, Any]) -> dict[str, Any]:
    """Return which exact rule each site has."""
    return {site.name: rule for rule in rules for site in found if is_exact(rule, site)}


_EVERY = ("*", "**", "re:.*")
"""Patterns that mean every site, as a number alone does."""


def _hits(
    found: Sequence[Site],
    pattern: Any,
    bases: Mapping[str, Sequence[type]],
    exact: Mapping[str, Any],
) -> list[Site]:
    matching = [site for site in found if matches(pattern, site, bases[site.name])]
    if not matching:
        raise PlacementError(_no_match(found, pattern))
    named = [site for site in matching if is_exact(pattern, site)]
    if named:
        if named[0].refused:
            raise PlacementError(f"rates: cannot place dropout at '{pattern}': {named[0].refused}")
        return named
    narrow = spell(pattern) not in _EVERY
    open_ = [
        site
        for site in matching
        if not site.refused and (not site.left_out or (narrow and site.shifts))
    ]
    if not open_:
        reasons = "; ".join(f"'{s.name}': {s.refused or s.left_out}" for s in matching)
        raise PlacementError(
            f"rates: '{spell(pattern)}' means only sites that are left out unless asked for by "
            f"name ({reasons})"
        )
    # What an exact name claims is not the pattern's, and a pattern may have nothing else to say.
    return [site for site in open_ if site.name not in exact]


def _rates(pattern: Any, rate: Any, count: int) -> list[float]:
    where = f"rates.{spell(pattern)}"
    try:
        if isinstance(rate, Mapping):
            if set(rate) != {"first", "last"}:
                raise PlacementError(
                    f"{where}: expected a rate or a table with the keys first and last, "
                    f"got the keys {', '.join(map(str, rate))}"
                )
            rate = Ramp(**rate)
        if isinstance(rate, Ramp):
            return rate.at(count) if count else []
        return [check_p(rate, where=where)] * count
    except PlacementError:
        raise
    except ArgumentError as error:
        raise PlacementError(str(error)) from None


def _is_said_twice(name: str, names: Sequence[str]) -> bool:
    """Return whether a branch's name is also there without what tells it from an input."""
    return name.startswith(BRANCH) and name.removeprefix(BRANCH) in names


def _no_match(found: Sequence[Site], pattern: Any) -> str:
    names = [name for site in found for name in (site.name, *site.aliases)]
    text = spell(pattern)
    if not names:
        return "rates: the model has no linear, convolution or recurrent layer to drop the input of"
    inside = [name for name in names if name.startswith(f"{text}.")]
    if inside:
        return (
            f"rates: expected a site, got '{text}', which only contains sites "
            f"({', '.join(inside[:6])}{', ...' if len(inside) > 6 else ''}); "
            f"write '{text}.*' for all of them"
        )
    ends = [name for name in names if name.endswith(f".{text}")]
    if ends:
        return f"rates: '{text}' matches no site; did you mean '{ends[0]}'" + (
            f", or '*.{text}' for all {len(ends)} of them?" if len(ends) > 1 else "?"
        )
    if not text.startswith(BRANCH):  # of branches that are asked for by kind, "b" says enough
        names = [name for name in names if not _is_said_twice(name, names)]
    hint = nearest(text, names if len(names) <= 40 else names[:40])
    return f"rates: '{text}' matches no site{hint}"
