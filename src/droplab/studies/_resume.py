"""What a run that goes on must share with its beginning."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from droplab.errors import RunError
from droplab.recipe import Recipe, differences, loads
from droplab.results import RunStore
from droplab.studies._code import Code, code_of
from droplab.studies._experiment import Experiment

_SHOWN = 5


def own_recipe(store: RunStore, asked: Recipe) -> Recipe:
    """Return the recipe that the run in `store` follows: `asked`, or its first seeds of a budget.

    Raises:
        RunError: If another recipe is asked for, naming what differs.
    """
    own, notes = loads(store.recipe_toml), store.notes()
    if own.scheduler is not None and own.digest != store.digest:
        raise RunError(
            f"{store.folder}: was begun by an earlier version, which stepped {own.scheduler.name} "
            "after every epoch and not after every step; begin the run anew, with "
            "scheduler.every = 'epoch' to have it as it was"
        )
    if asked.digest == own.digest:
        return own
    first = dataclasses.replace(asked, seeds=asked.seeds[: len(own.seeds)])
    # an earlier version did not keep which seeds a budget left away
    known = json.loads(notes["budget"])["seeds"] if "budget" in notes else None
    may = known == list(asked.seeds) if known is not None else "code" not in notes
    if may and first.digest == own.digest:
        return own
    found = [
        f"{each.key}: the run has {each.before}, asked for {each.after}"
        for each in differences(own, asked)
    ]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    hint = "Resume it with what it began with, or begin a new run with another --out"
    if dataclasses.replace(asked, seeds=own.seeds).digest == own.digest:
        hint += (
            "; seeds of a run of their own are seen beside the first ones with droplab compare, "
            "and what may be said of all depends on looks in the recipe (docs/verdict.md)"
        )
    raise RunError(
        f"{store.folder}: was begun with another recipe: {'; '.join(found[:_SHOWN])}{more}. {hint}"
    )


def check_same_arms(store: RunStore, asked: Sequence[str] | None, *, some: bool) -> None:
    """Raise a RunError if other arms are asked for by name than the run has.

    Args:
        store: The run.
        asked: Their names.
        some: Whether they may be some of those that the run has.
    """
    own = list(dict.fromkeys(member.arm for member in store.members()))
    if asked and not (set(asked) <= set(own) if some else set(asked) == set(own)):
        raise RunError(
            f"{store.folder}: the run has the arms {_quoted(own)}, asked for {_quoted(asked)}. "
            "Resume it without --arm, or begin a new run with another --out"
        )


def check_same_device(store: RunStore, own: str, asked: str | None) -> None:
    """Raise a RunError if another device is asked for than the run began on."""
    if asked is not None and asked != own:
        raise RunError(
            f"{store.folder}: the run began on the device {own}, asked for {asked}, where the bits "
            "are others. Resume it without --device, or begin a new run with another --out"
        )


def check_same_data(store: RunStore, experiment: Experiment) -> None:
    """Raise a RunError if the data is not what the run began on."""
    recorded = json.loads(store.notes().get("data", "{}"))
    if recorded.get("checksum") != experiment.dataset["checksum"]:
        raise RunError(
            f"{store.folder}: the run began on data with checksum {recorded.get('checksum')}, "
            f"and {experiment.dataset['name']} now has {experiment.dataset['checksum']}; put the "
            "old data back, or start a new run"
        )
    validated_on = experiment.splits.validated_on
    if recorded.get("validated_on", validated_on) != validated_on:
        raise RunError(
            f"{store.folder}: the run began with validation on the {recorded['validated_on']} "
            f"split, and would go on with the {validated_on} split; give data.validation as it was"
        )


def has_blocks(store: RunStore) -> bool:
    """Whether the run keeps its primary metric on blocks; those of earlier versions do not."""
    return "blocks" in json.loads(store.notes().get("data", "{}"))


def check_same_code(store: RunStore, experiment: Experiment, *, changed_code: bool) -> None:
    """Raise a RunError if the code is not what the run began with, unless that is wanted.

    A run that goes on with other code says so in its notes. One that an earlier version began has
    nothing to compare with, and is compared from now on.
    """
    now, notes = code_of(experiment), store.notes()
    changes = now.changes_since(Code.from_json(notes["code"])) if "code" in notes else []
    if changes and not changed_code:
        raise RunError(
            f"{store.folder}: the code is not what the run began with: {'; '.join(changes)}. Half "
            "of the rows would be of another model; undo the change, begin a new run with another "
            "--out, or insist with --changed-code"
        )
    if changes:
        earlier = [notes["changed code"]] if "changed code" in notes else []
        store.set_note("changed code", "\n".join([*earlier, *changes]))
    store.set_note("code", now.to_json())


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
