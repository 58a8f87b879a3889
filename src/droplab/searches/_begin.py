"""How a search begins, or is found again: its folder, its lock and its record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from droplab import results
from droplab.errors import RunError
from droplab.recipe import Recipe
from droplab.results import ProposedPlan, SearchRecord, load_search
from droplab.searches._asked import Asked, check_same
from droplab.searches._driver import finite
from droplab.searches._proposals import Proposals
from droplab.searches._space import Space
from droplab.searches._warm import Told
from droplab.studies import default_folder as _runs_folder


def new_record(
    recipe: Recipe,
    space: Space,
    asked: Asked,
    keys: Mapping[str, Any],
    about: Mapping[str, Any],
    used: set[int],
) -> SearchRecord:
    seeds = [*recipe.seeds, *(s for s in range(asked.seeds) if s not in recipe.seeds)]
    mine = tuple(seeds[: asked.seeds])
    count = asked.confirm_seeds or len(recipe.seeds)
    taken = used | set(mine)
    fresh = tuple(s for s in range(count + len(taken)) if s not in taken)[:count]
    return SearchRecord(
        recipe.name,
        recipe.title,
        recipe.digest,
        datetime.now(UTC).isoformat(timespec="seconds"),
        dict(keys),
        tuple(map(str, (knob.said for knob in space.knobs))),
        space.spec.objective,
        tuple(recipe.metrics[name].higher_is_better for name in space.spec.objective),
        tuple(map(str, space.spec.constraints)),
        mine,
        fresh,
        **about,
        metrics=dict(recipe.metrics),
        test_metrics=dict(recipe.test_metrics),
    )


def tell_warm(proposals: Proposals, told: Sequence[Told], record: SearchRecord) -> SearchRecord:
    """Tell Optuna what earlier runs have measured, what it was not told before."""
    there = [each for each in proposals.all() if each.source not in ("common", "sampler")]
    for each in told[len(there) :]:
        values = [each.values[name] for name in record.objective]
        proposals.add(each.choice, values, each.source)
    plans = tuple(
        ProposedPlan(
            number,
            each.source,
            "done",
            0,
            each.choice,
            dict(each.arm.rates),
            dict(each.arm.existing),
            each.arm.kind,
            None if each.arm.schedule is None else str(each.arm.schedule),
            {name: finite(value) for name, value in each.values.items()},
            each.seeds,
        )
        for number, each in enumerate(told)
    )
    return dataclasses.replace(record, plans=plans)


def best_of(
    told: Sequence[Told], objective: Sequence[str], higher: Sequence[bool]
) -> list[Mapping[str, Any]]:
    """Return the two best plans of earlier runs, to be trained on the seeds of the search."""
    sign = -1 if higher[0] else 1
    order = sorted(told, key=lambda each: sign * each.values[objective[0]])
    return [each.choice for each in order[:2]]


def begun(
    folder: Path, keys: Mapping[str, Any], *, resume: bool, changed_code: bool
) -> SearchRecord | None:
    """Return the record of a search that goes on; None if a new one begins."""
    there = (folder / results.SEARCH_FILE).is_file()
    if not there:
        if resume:
            raise RunError(f"{folder}: expected a search to go on with, found none there")
        return None
    if not resume:
        raise RunError(
            f"{folder}: holds a search already; go on with it by resume (--resume), or choose "
            "another folder with --out"
        )
    record = load_search(folder)
    free = ("optuna",) if changed_code else ()
    before = {key: value for key, value in record.asked.items() if key not in free}
    now = json.loads(json.dumps({key: value for key, value in keys.items() if key not in free}))
    check_same(before, now, folder)
    return record


def default_folder(recipe: Recipe, *, existing: bool = False) -> Path:
    """Return `runs/<name>-search-<digest>`, numbered: the next free one, or the newest."""
    return _runs_folder(
        dataclasses.replace(recipe, name=f"{recipe.name}-search"), existing=existing
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    results.preflight(folder, 20_000_000)
    lock = FileLock(folder / "search.lock", timeout=0, thread_local=False)
    try:
        with lock:
            yield
    except Timeout:
        raise RunError(
            f"{folder}: another droplab is at this search; wait for it to end, or stop it first"
        ) from None
