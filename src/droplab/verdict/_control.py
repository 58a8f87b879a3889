"""Whether nothing but dropout changed, as far as it was seen of trials that droplab did not run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from droplab.recipe import Recipe
from droplab.results import Member

Seen = Mapping[str, Any]

_CONFOUNDS = (
    "the number of steps",
    "the learning rate",
    "the optimizer",
    "the number of parameters",
    "the size of the data",
)
"""What makes another question of a comparison, where it differs between arms."""


@dataclass(frozen=True)
class Control:
    """What was seen of the trials of a study.

    Args:
        confounded: What else differs between arms, a sentence; "" if nothing does.
        unpaired: What differs within seeds, and is noise, a sentence; "" if nothing does.
        unseen: What could not be seen, a sentence; "" if all could.
        dropping: Where a model was measured while it dropped, a sentence; "" if nowhere.
        failed: Which trials failed, and why the first did, a sentence; "" if none did.
        same: What was the same, for the list of what did not change; "" if nothing was.
    """

    confounded: str = ""
    unpaired: str = ""
    unseen: str = ""
    dropping: str = ""
    failed: str = ""
    same: str = ""


def control(
    recipe: Recipe, members: Iterable[Member], notes: Mapping[str, str], epoch: int
) -> Control:
    """Compare what was seen of each trial with what was seen of the baseline with its seed.

    Args:
        recipe: The study.
        members: Its trials.
        notes: What it has noted, "trial/ARM/SEED" of each trial among it.
        epoch: The epoch at which arms are judged: what came later is no difference.
    """
    if recipe.loop is None:
        return Control()  # droplab's own engine: nothing else can differ
    members = tuple(members)
    failed = _failed([member for member in members if member.state == "failed"])
    seen = {
        (m.arm, m.seed): found
        for m in members
        if m.state in ("done", "nan") and (found := _read(notes, m.arm, m.seed))
    }
    base = recipe.baseline.name
    pairs = [
        (arm, seen[base, seed], found)
        for (arm, seed), found in seen.items()
        if arm != base and (base, seed) in seen
    ]
    dropping = _dropping(seen)
    if not pairs:
        return Control(failed=failed, dropping=dropping)
    found = [(arm, _differs(one, two, epoch)) for arm, one, two in pairs]
    other = {
        what: list(dict.fromkeys(arm for arm, differs in found if what in differs))
        for what in _CONFOUNDS
    }
    unpaired, unseen, same = _paired([(one, two) for _, one, two in pairs])
    return Control(_confounded(other, base), unpaired, unseen, dropping, failed, same)


def _failed(members: Sequence[Member]) -> str:
    if not members:
        return ""
    first = members[0]
    where = f"'{first.arm}', seed {first.seed}: {first.message.rstrip('.')}"
    if len(members) == 1:
        return f"A trial failed and is not counted ({where}). A study that is resumed tries again."
    return (
        f"{len(members)} trials failed and are not counted (the first, {where}). A study that is "
        "resumed tries them again."
    )


def _dropping(seen: Mapping[tuple[str, int], Seen]) -> str:
    counts = {
        member: count
        for member, found in seen.items()
        if isinstance(count := found.get("without_gradients"), int) and count
    }
    if not counts:
        return ""
    (arm, seed), count = next(iter(counts.items()))
    times = "once" if count == 1 else f"{count} times"
    return (
        f"Measured while it drops? The model was called in training mode without gradients in "
        f"{len(counts)} of {len(seen)} trials ({times} in '{arm}', seed {seed}). Call "
        "model.eval() before it is measured, and model.train() after."
    )


def _confounded(other: Mapping[str, Sequence[str]], base: str) -> str:
    parts: dict[tuple[str, ...], list[str]] = {}
    for what, arms in other.items():
        if arms:
            parts.setdefault(tuple(arms), []).append(what)
    if not parts:
        return ""
    said: list[str] = []
    for arms, whats in parts.items():
        verb = "differs" if len(arms) == 1 else "differ"
        names = _listed([f"'{arm}'" for arm in arms])
        said.append(f"{names} {verb} from '{base}' in {_listed(whats)} as well")
    return f"Not dropout alone: {'; '.join(said)}."


def _paired(pairs: Sequence[tuple[Seen, Seen]]) -> tuple[str, str, str]:
    """Return what is unpaired, what could not be seen, and what is the same."""
    total = len(pairs)
    weights = sum(one.get("weights") != two.get("weights") for one, two in pairs)
    batches = [_same(one, two, "batches") for one, two in pairs]
    inputs = [_same(one, two, "inputs") for one, two in pairs]
    blind = sum(here is None and there is None for here, there in zip(batches, inputs, strict=True))
    differ = batches.count(False)
    called = 0 if differ else inputs.count(False)
    odd = [
        f"{name} differ in {count} of {total} pairs of trials"
        for name, count in (
            ("initial weights", weights),
            ("batches", differ),
            ("inputs of the model (augmentation in the loop, say)", called),
        )
        if count
    ]
    unpaired = ""
    if odd:
        unpaired = (
            f"Not paired: {_listed(odd)} that share a seed. That is noise, and no bias: the "
            "verdict stands, with intervals wider than they need be. Let a trial make model and "
            "loaders after it has begun, in the same order for every arm."
        )
    unseen = ""
    if blind:
        unseen = (
            f"Batches could not be seen in {blind} of {total} pairs of trials (no DataLoader gave "
            "any, and the placed model is not called as a whole), so whether arms had the same "
            "ones is not known."
        )
    same = [
        name
        for name, holds in (
            ("initial weights", not weights),
            ("batches, as far as they were looked at", not (differ or called or blind)),
        )
        if holds
    ]
    return unpaired, unseen, _listed(same)


def _differs(one: Seen, two: Seen, epoch: int) -> list[str]:
    """Return which of `_CONFOUNDS` differ between two trials, up to an epoch."""
    here, there = _course(one, epoch), _course(two, epoch)
    alike = here[0] == there[0]
    larger = one.get("parameters") != two.get("parameters")
    sizes = _other_sizes(one.get("examples"), two.get("examples"))
    found = (not alike, alike and here[1] != there[1])
    found = (*found, alike and not larger and here[2] != there[2], larger, sizes)
    return [what for what, differs in zip(_CONFOUNDS, found, strict=True) if differs]


def _other_sizes(one: object, two: object) -> bool:
    """Whether data sets have other sizes; of a shorter trial, fewer of them may have been seen."""
    if not isinstance(one, list) or not isinstance(two, list):
        return one != two
    pairs = zip(cast("list[Any]", one), cast("list[Any]", two), strict=False)
    return any(here != there for here, there in pairs)


def _course(seen: Seen, epoch: int) -> tuple[Any, Any, Any]:
    course = seen.get("course")
    rows = cast("list[Any]", course) if isinstance(course, list) else []
    row = rows[epoch - 1] if 0 < epoch <= len(rows) else None
    if not isinstance(row, list) or len(cast("list[Any]", row)) != 3:
        return (None, None, None)
    steps, rates, settings = cast("list[Any]", row)
    return (steps, rates, settings)


def _same(one: Seen, two: Seen, name: str) -> bool | None:
    """Whether two trials had the same batches, or inputs; None if none of both were seen."""
    first, second = _table(one, name), _table(two, name)
    common = first.keys() & second.keys()
    return all(first[number] == second[number] for number in common) if common else None


def _table(seen: Seen, name: str) -> dict[str, Any]:
    found = seen.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _read(notes: Mapping[str, str], arm: str, seed: int) -> Seen:
    try:
        found = json.loads(notes.get(f"trial/{arm}/{seed}", "{}"))
    except ValueError:
        return {}
    return cast("Seen", found) if isinstance(found, dict) else {}


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
