"""What is searched, as pure data: the space, the objective and what a plan must keep to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from droplab.documents import DocumentError, parse_toml, read_text
from droplab.errors import ArgumentError, RecipeError, nearest, quote
from droplab.numeric import real
from droplab.probability import check_p
from droplab.recipe import ScheduleSpec, metric_names
from droplab.recipe.target import parse_condition

RULES = ("site", "block", "depth", "all")
"""How the rates of several sites hang together: each on its own, one for each block of the model,
growing with depth, or one for all."""

LOW, HIGH, STEP = 0.0, 0.8, 0.01
"""The rates that are tried unless the space says otherwise."""

SECONDS = "seconds"
"""What a constraint on the time of a trial is called: its training, the mean over seeds."""

_KEYS = ("rates", "existing", "kinds", "schedules", "objective", "constraints")
_KINDS = ("element", "channel", "locked", "alpha")


@dataclass(frozen=True)
class Part:
    """Some places and the rates that are tried there.

    Args:
        names: Names or patterns; empty for every hidden site.
        low: The least rate.
        high: The largest.
        step: What rates differ by at least.
        by: One of `RULES`.
        existing: Whether they are rates that the model has already.
    """

    names: tuple[str, ...] = ()
    low: float = LOW
    high: float = HIGH
    step: float = STEP
    by: str = "site"
    existing: bool = False


@dataclass(frozen=True)
class Limit:
    """What a plan has to keep to, on the mean over the seeds of the search.

    Args:
        metric: A metric, or `SECONDS`.
        op: One of <, <=, > and >=.
        value: The bound.

    Example:
        >>> limit = Limit("seconds", "<=", 60.0)
        >>> str(limit), limit.over(61.5), limit.over(20.0)
        ('seconds <= 60', 1.5, -40.0)
    """

    metric: str
    op: str
    value: float

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.value:g}"

    def over(self, value: float) -> float:
        """Return by how much a value breaks it; at most 0 where it is met."""
        return value - self.value if self.op.startswith("<") else self.value - value


@dataclass(frozen=True)
class SpaceSpec:
    """A space of plans, before it meets a model.

    Args:
        parts: Places and rates; no two of them may mean one place.
        kinds: Kinds of dropout, of which a plan has one; empty for what suits each site.
        schedules: How rates may change with the step, of which a plan has one; None: they stay.
        objective: The metrics that decide: one, or two for a Pareto front; empty for the primary
            one of the recipe.
        constraints: What a plan has to meet, on the mean over the seeds of the search.

    Example:
        >>> read_space({"rates": [{"sites": ["fc*"], "p": [0.0, 0.5]}]}).parts[0].high
        0.5
    """

    parts: tuple[Part, ...] = (Part(),)
    kinds: tuple[str, ...] = ()
    schedules: tuple[ScheduleSpec | None, ...] = ()
    objective: tuple[str, ...] = ()
    constraints: tuple[Limit, ...] = ()


def read_space(given: str | Path | Mapping[str, Any] | SpaceSpec) -> SpaceSpec:
    """Return the space that is meant.

    Args:
        given: One of `RULES`, for every hidden site and rates from 0 to 0.8; a TOML file; or the
            table that one has (docs/search.md).

    Raises:
        ArgumentError: If it cannot be read, or its constraints contradict each other.

    Example:
        >>> read_space("depth").parts[0].by
        'depth'
    """
    if isinstance(given, SpaceSpec):
        return given
    if isinstance(given, Mapping):
        return _of_table(given, "space")
    if str(given) in RULES:
        return SpaceSpec((Part(by=str(given)),))
    path = Path(given)
    if not path.is_file():
        raise ArgumentError(
            f"space: expected one of {', '.join(RULES)}, or a TOML file, got {quote(str(given))}"
            f"{nearest(str(given), RULES)}"
        )
    try:
        return _of_table(parse_toml(read_text(path)), str(path))
    except DocumentError as error:
        raise ArgumentError(f"{path}: expected TOML, and could not read it: {error}") from None


def _of_table(table: Mapping[str, Any], where: str) -> SpaceSpec:
    for key in table:
        if key not in _KEYS:
            raise ArgumentError(f"{where}: unknown key {quote(key)}{nearest(str(key), _KEYS)}")
    parts = [_part(item, f"{where}.rates", "sites") for item in _tables(table, "rates", where)]
    parts += [
        _part(item, f"{where}.existing", "names") for item in _tables(table, "existing", where)
    ]
    kinds = _texts(table.get("kinds", ()), f"{where}.kinds")
    for kind in kinds:
        if kind not in _KINDS:
            raise ArgumentError(
                f"{where}.kinds: expected kinds of dropout, got {quote(kind)}"
                f"{nearest(kind, _KINDS)}"
            )
    objective = table.get("objective", ())
    objective = _texts([objective] if isinstance(objective, str) else objective, where)
    if len(objective) > 2 or len(set(objective)) < len(objective):
        raise ArgumentError(
            f"{where}.objective: expected one metric, or two different ones, got "
            f"{quote(list(objective))}"
        )
    schedules = tuple(_schedule(item, where) for item in _list(table.get("schedules", ()), where))
    return SpaceSpec(
        tuple(parts) or (Part(),),
        _once(kinds, f"{where}.kinds"),
        schedules,
        objective,
        _constraints(table.get("constraints", {}), f"{where}.constraints"),
    )


def _part(table: Any, where: str, names: str) -> Part:
    if not isinstance(table, Mapping):
        raise ArgumentError(
            f"{where}: expected tables, [[{where.split('.')[-1]}]], got {quote(table)}"
        )
    item = cast("Mapping[str, Any]", table)
    known = (names, "p", "by")
    for key in item:
        if key not in known:
            raise ArgumentError(f"{where}: unknown key {quote(key)}{nearest(str(key), known)}")
    found = item.get(names, ())
    texts = _texts([found] if isinstance(found, str) else found, f"{where}.{names}")
    existing = names == "names"
    if existing and not texts:
        raise ArgumentError(
            f"{where}.names: expected the names or patterns of dropout that the model has, got "
            "none; `droplab sites` lists them"
        )
    by = item.get("by", "site")
    if by not in RULES:
        raise ArgumentError(
            f"{where}.by: expected one of {', '.join(RULES)}, got {quote(by)}"
            f"{nearest(str(by), RULES)}"
        )
    low, high, step = _range(item.get("p", [LOW, HIGH]), f"{where}.p")
    return Part(_once(texts, f"{where}.{names}"), low, high, step, by, existing)


def _range(given: Any, where: str) -> tuple[float, float, float]:
    """Return the least and the largest rate, and their step, which fits between them."""
    form = "expected [from, to] or [from, to, step], such as [0.0, 0.8, 0.05]"
    numbers = [real(item) for item in _list(given, where)]
    if len(numbers) not in (2, 3) or any(n is None or not math.isfinite(n) for n in numbers):
        raise ArgumentError(f"{where}: {form}, got {quote(given)}")
    low, high, *rest = (float(cast("float", n)) for n in numbers)
    for end in (low, high):
        check_p(end, where=where)
    if not low < high:
        raise ArgumentError(f"{where}: expected a range, got {quote(given)}; {form}")
    step = rest[0] if rest else STEP
    between = Decimal(repr(high)) - Decimal(repr(low))
    if not 0 < step <= high - low + 1e-12 or between % Decimal(repr(step)):
        if not rest:  # the usual step does not fit: a hundredth of the range does
            return low, high, float(between / 100)
        raise ArgumentError(
            f"{where}: expected a step above 0 of which {high:g} - {low:g} is a multiple, got "
            f"{step:g}; leave it out for the usual one"
        )
    return low, high, step


def _constraints(given: Any, where: str) -> tuple[Limit, ...]:
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f'{where}: expected a table such as train_accuracy_running = "< 0.92", got '
            f"{quote(given)}"
        )
    found: list[Limit] = []
    for metric, texts in cast("Mapping[str, Any]", given).items():
        known = metric_names()
        bounds = {"low": -math.inf, "high": math.inf}
        for text in texts if isinstance(texts, list) else [texts]:
            try:
                # a metric that no task has is of somebody's own loop
                condition = parse_condition(metric if metric in known else "val_own", text)
            except (ValueError, RecipeError) as error:
                raise ArgumentError(f"{where}.{metric}: {error}") from None
            value = float(condition.value)
            found.append(Limit(metric, condition.op, value))
            if condition.op.startswith("<"):
                bounds["high"] = min(bounds["high"], value)
            else:
                bounds["low"] = max(bounds["low"], value)
        if metric == SECONDS and bounds["high"] <= 0:
            raise ArgumentError(
                f"{where}.{metric}: expected seconds that training a trial may take, more than 0, "
                f"got {bounds['high']:g}"
            )
        if bounds["low"] >= bounds["high"]:
            raise ArgumentError(
                f"{where}.{metric}: no number is above {bounds['low']:g} and below "
                f"{bounds['high']:g}, so no plan can meet both; take one of them back"
            )
    return tuple(found)


def _schedule(item: Any, where: str) -> ScheduleSpec | None:
    if item == "none":
        return None
    if not isinstance(item, Mapping) or "name" not in item:
        raise ArgumentError(
            f"{where}.schedules: expected tables such as {{ name = 'early', steps = 500 }}, or "
            f"'none' for rates that stay, got {quote(item)}"
        )
    given = dict(cast("Mapping[str, Any]", item))
    return ScheduleSpec(given.pop("name"), given)


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ArgumentError(f"{where}: expected a list, got {quote(given)}; write it in [brackets]")
    return list(cast("Sequence[Any]", given))


def _tables(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    return _list(table.get(key, ()), f"{where}.{key}")


def _texts(given: Any, where: str) -> tuple[str, ...]:
    items = _list(given, where)
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise ArgumentError(f"{where}: expected names in quotes, got {quote(item)}")
    return tuple(items)


def _once(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ArgumentError(f"{where}: expected each once, got {quote(list(names))}")
    return names
