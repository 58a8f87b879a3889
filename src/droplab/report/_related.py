"""How runs are related, in words: what differs, and what may be said of all of them together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase
from typing import Any, cast

from droplab.errors import DroplabError
from droplab.recipe import Arm, Recipe, differences
from droplab.results import RunResult, plan_sentence
from droplab.verdict import Verdict, as_placed, judge, pool, spent_text

_WORDS = {
    "batch_size": "batch size",
    "primary": "the metric that decides",
    "also_measure": "further metrics",
    "score_train": "training figures",
    "stopping": "early stopping",
}
_ON_THIS_MACHINE = {
    "versions": "other versions",
    "processor": "another processor",
    "execution": "another execution plan",
}
_LONGEST = 200


@dataclass(frozen=True)
class Row:
    """One value that is not the same in all runs, as text: one for each of them."""

    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Pooled:
    """The verdict over the seeds of all runs, and whether its words may be spoken."""

    verdict: Verdict
    spoken: bool


def judged(result: RunResult) -> Verdict | str:
    """Return the verdict of a run, or why it has none."""
    if result.recipe.baseline.name not in {row.arm for row in result.rows}:
        return "No verdict yet: its baseline has no finished epoch."
    try:
        return judge(result)
    except DroplabError as error:
        return f"No verdict: {error}"


def differing_values(results: Sequence[RunResult]) -> list[Row]:
    """Return every value that is not the same in all runs."""
    first, *others = (result.recipe for result in results)
    found: dict[str, list[str]] = {}
    for place, other in enumerate(others, start=1):
        for each in differences(first, other):
            if not each.key.startswith("arms."):
                values = found.setdefault(each.key, [each.before] * len(results))
                values[place] = each.after
    rows = [Row(key, tuple(values)) for key, values in found.items()]
    drops = [_arms_of(result) for result in results]
    same = all(each.keys() == drops[0].keys() for each in drops)
    told = [] if same else [("arms", ["; ".join(each.values()) for each in drops])]
    told += [
        ("data (checksum)", [_note(result, "data", "checksum") for result in results]),
        ("model (parameters)", [_note(result, "model", "parameters") for result in results]),
        ("versions", [_versions(result) for result in results]),
        ("processor", [str(result.environment.get("cpu", "")) for result in results]),
        ("execution", [plan_sentence(result.plan) for result in results]),
    ]
    rows += [Row(what, tuple(map(_shortened, each))) for what, each in told if len(set(each)) > 1]
    return rows


def _arms_of(result: RunResult) -> dict[str, str]:
    """Return what each arm drops -> the arm in words; arms that drop the same are one."""
    return {_drops(arm): f"{arm.name} ({_drops(arm)})" for arm in _placed(result).arms}


def _placed(result: RunResult) -> Recipe:
    return as_placed(result.recipe, result.notes)


def _drops(arm: Arm) -> str:
    used = [f"{site} {rate:g}" for site, rate in sorted(arm.rates.items()) if rate]
    used += [f"own {name} {rate:g}" for name, rate in sorted(arm.existing.items())]
    used += [str(arm.schedule)] if arm.schedule else []
    used += [f"kind {arm.kind}"] if arm.kind and arm.places else []
    return " · ".join(used) or "no dropout added"


def _note(result: RunResult, name: str, key: str) -> str:
    try:
        found: object = json.loads(result.notes.get(name, "{}"))
    except ValueError:
        return ""
    return str(cast("dict[str, Any]", found).get(key, "")) if isinstance(found, dict) else ""


def _versions(result: RunResult) -> str:
    found: object = result.environment.get("packages", {})
    packages = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return ", ".join(
        f"{name} {packages[name]}" for name in ("droplab", "torch") if name in packages
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def related(
    results: Sequence[RunResult], differing: Sequence[Row]
) -> tuple[tuple[str, ...], Pooled | None]:
    """Return how runs are related, and all as one where they differ in seeds alone."""
    if len(results) == 1:
        return (), None
    parts = dict.fromkeys(_part(row.what) for row in differing)
    kinds = [part for part in parts if part not in _ON_THIS_MACHINE]
    told, pooled = [_relation(kinds, len(results))], None
    if kinds == ["seeds"]:
        said, pooled = _looks(results)
        told.append(said)
    machine = [words for part, words in _ON_THIS_MACHINE.items() if part in parts]
    if machine:
        told.append(f"They were run with {_listed(machine)}: equal bits are not expected.")
    told += _same_names(results)
    shared = set(results[0].metrics).intersection(*(result.metrics for result in results))
    if not shared:
        told.append("They have no metric in common.")
    elif any(set(result.metrics) != shared for result in results):
        told.append("They do not measure the same; what one did not is left empty.")
    return tuple(told), pooled


def _relation(kinds: Sequence[str], runs: int) -> str:
    if not kinds:
        return f"{'Both' if runs == 2 else 'All'} follow the same experiment."
    if kinds == ["seeds"]:
        return "They differ in seeds alone."
    if kinds == ["arms"]:
        return "They differ in arms alone: in dropout, and in nothing else."
    of = "dropout and of luck" if set(kinds) == {"arms", "seeds"} else "more than dropout"
    return f"They differ in {_listed(kinds)}: what differs between their results is of {of}."


def _part(key: str) -> str:
    """Return the part of an experiment that a value belongs to, in words."""
    name = key.partition(".")[0].partition(" ")[0]
    return _WORDS.get(name, name)


def _same_names(results: Sequence[RunResult]) -> list[str]:
    """Say which names mean different arms."""
    drops = [{arm.name: _drops(arm) for arm in _placed(result).arms} for result in results]
    told: dict[str, str] = {}
    for (one, first), (two, second) in combinations(zip(ascii_uppercase, drops, strict=False), 2):
        for name in first:
            if name in second and first[name] != second[name]:
                text = f"'{name}' of {one} and '{name}' of {two} are different arms."
                told.setdefault(name, text)
    return list(told.values())


def _looks(results: Sequence[RunResult]) -> tuple[str, Pooled | None]:
    """Say what may be said of runs that differ in seeds alone; return them as one, if they can."""
    seeds = [seed for result in results for seed in result.recipe.seeds]
    shared = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if shared:
        named = ", ".join(map(str, shared[:5])) + (" and more" if len(shared) > 5 else "")
        return f"They share seeds ({named}), so they are not taken together.", None
    order = sorted(zip(results, ascii_uppercase, strict=False), key=lambda each: each[0].created)
    together = pool([result for result, _ in order])
    found = judged(together)
    if not isinstance(found, Verdict):
        return f"Over all seeds: {found}", None
    if spent := spent_text(together):
        later = [letter for _, letter in order[together.recipe.looks :]]
        return (
            f"{spent[0].upper()}{spent[1:]}: over all seeds the arms are shown without a word, and "
            f"{_listed(later)} {'is' if len(later) == 1 else 'are'} judged alone, as a new "
            "experiment."
        ), Pooled(found, spoken=False)
    said = f"The second look, as planned ({100 * found.level:g} %), over all seeds: "
    return said + found.headline, Pooled(found, spoken=True)


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
