"""A search over plans: proposed by Optuna, trained by the engine, judged on what it never saw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from droplab import results
from droplab.data import Splits
from droplab.errors import ArgumentError, RunError, nearest, quote
from droplab.recipe import Recipe
from droplab.results import ProposedPlan, RunResult, SearchRecord, Shrinkage, load_search
from droplab.searches._asked import Asked, check_same
from droplab.searches._confirm import confirm
from droplab.searches._driver import Driver, finite
from droplab.searches._examples import divide
from droplab.searches._observer import SearchObserver
from droplab.searches._outcome import outcome
from droplab.searches._proposals import Proposals, optuna_version
from droplab.searches._space import Space
from droplab.searches._spec import SpaceSpec, read_space
from droplab.searches._warm import Told, told_by
from droplab.searches._winners import choose_winners
from droplab.studies import Experiment, RayCluster, resolve
from droplab.studies import default_folder as _runs_folder
from droplab.train import ExecutionPlan
from droplab.verdict import Verdict


@dataclass(frozen=True)
class SearchResult:
    """What `droplab.search` returns.

    Attributes:
        path: The folder of the search.
        record: Every plan that was proposed, and what is left of the winner.
        run: The run on fresh seeds and fresh examples; None if no plan went on.
        verdict: Its verdict.
        arm: Name of the plan that was found: of several, the best one there; None without one.
        plan: Where it adds dropout and how much: site -> rate. Place it with
            `droplab.plan(model, result.plan)`.
        existing: The rates of the model's own dropout that it changes.
    """

    path: Path
    record: SearchRecord
    run: RunResult | None
    verdict: Verdict | None
    arm: str | None
    plan: Mapping[str, float]
    existing: Mapping[str, float]


def search(
    recipe: Recipe | Experiment,
    space: str | Path | Mapping[str, Any] | SpaceSpec = "site",
    *,
    asked: Asked | None = None,
    objective: str | Sequence[str] | None = None,
    warm: Sequence[str | Path] = (),
    out: str | Path | None = None,
    resume: bool = False,
    changed_code: bool = False,
    plan: ExecutionPlan | None = None,
    device: str | None = None,
    cluster: RayCluster | None = None,
    observer: SearchObserver | None = None,
) -> SearchResult:
    """Search a space of plans, and judge what is found on seeds and examples it never saw.

    Optuna proposes; a generation of proposals is one run of the engine, in which they are trained
    together where the model allows it, all on the same few seeds. Then the best plan and the
    baseline are trained again on fresh seeds and judged on examples that were set aside before
    the first proposal.

    Args:
        recipe: What is trained; its arms do not count. Or an experiment of
            `droplab.studies.resolve`.
        space: "site" (each hidden site has its own rate), "block", "depth" (rates grow with depth)
            or "all" (one rate); a TOML file; or the table of one: see docs/search.md.
        asked: How many plans, seeds and so on; None for the usual.
        objective: The metric that decides, or two for a Pareto front; None for what the space
            says, or else the primary one of the recipe.
        warm: Folders of earlier runs of the recipe, sweeps for example, that Optuna is told of.
        out: The folder of the search; None chooses `runs/<name>-search-<digest>`.
        resume: Go on with the search in that folder, to the same proposals.
        changed_code: Go on although your code, or a version, has changed since.
        plan: How steps are executed; None measures a few.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one.
        cluster: Whose processes train; None for this machine's.
        observer: Told of everything as it happens.

    Returns:
        All proposals, the verdict, and the plan that was found.

    Raises:
        ArgumentError: If the space matches nothing, or a setting is impossible.
        DataError: If there are no examples to set aside.
        BackendError: If Optuna is missing or too old.
        RunError: If the folder cannot be used, or holds another search.

    Randomness:
        Each proposal is asked with a key of its own, stream (sampler_seed, "search", number).

    Example:
        >>> import tempfile
        >>> from droplab.recipe import load, override
        >>> recipe = override(load("digits"), {"epochs": 1, "data.train": 60})
        >>> few = Asked(trials=2, batch=2, seeds=1, confirm_seeds=1)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     found = search(recipe, "all", asked=few, out=place)
        >>> [plan.rates for plan in found.record.plans]
        [{'fc2': 0.2, 'fc3': 0.2}, ...]
    """
    asked, spec = asked or Asked(), read_space(space)
    version = optuna_version()
    observer = observer or SearchObserver()
    base = recipe
    if isinstance(base, Recipe):
        base = resolve(base, progress=observer.data_progress)
    names = (objective,) if isinstance(objective, str) else tuple(objective or ())
    names = names or spec.objective or (base.recipe.primary,)
    spec = dataclasses.replace(spec, objective=names)
    _check_metrics(spec, base.recipe)
    asked = asked.decided(len(spec.objective))
    divided = divide(base.splits, asked.fresh)
    placed = Space.of(spec, base.new_model(base.recipe.seeds[0]), base.own.dropout)
    if warm and divided.source != "test":
        raise ArgumentError(
            "warm: expected a test split to judge on (fresh = 'test'), since the earlier run has "
            "scored all validation examples, also those that would be set aside"
        )
    told, used = told_by([Path(each) for each in warm], base, placed, spec.objective)
    keys = asked.to_dict(
        base.recipe,
        spec,
        {str(Path(each)): results.load(each).recipe.digest for each in warm},
        {"optuna": version},
    )
    keys |= {"objective": list(spec.objective), "constraints": list(map(str, spec.constraints))}
    keys |= {"data": base.dataset["checksum"]}
    folder = Path(out) if out is not None else default_folder(base.recipe, existing=resume)
    with _locked(folder), nullcontext() if cluster is None else cluster.connected():
        record = _begin(folder, keys, resume=resume, changed_code=changed_code)
        if record is None:
            record = _new_record(base, placed, spec, asked, keys, divided, used)
            record.write(folder)
        proposals = Proposals(
            folder, placed.knobs, asked.sampler, asked.sampler_seed, record.higher
        )
        try:
            record = _tell_warm(proposals, told, record)
            driver = Driver(
                base,
                divided.searched,
                placed,
                asked,
                proposals,
                folder,
                record,
                observer,
                plan=plan,
                device=device,
                cluster=cluster,
                changed_code=changed_code,
            )
            if told:
                driver.first = _best_of(told, spec.objective, record.higher)
            driver.search()
            return _end(driver, divided.fresh)
        finally:
            proposals.close()


def _end(driver: Driver, fresh: Splits) -> SearchResult:
    """Judge what was found, and write the record for the last time."""
    record = driver.record
    winners, more = choose_winners(
        record.plans, record.objective, record.higher, driver.asked.finalists
    )
    run: RunResult | None = None
    verdict: Verdict | None = None
    shrinkage: tuple[Shrinkage, ...] = ()
    if winners:
        run, verdict, shrinkage = confirm(driver, winners, fresh)
    record = dataclasses.replace(
        record,
        winners=tuple(each.name for each in winners),
        shrinkage=shrinkage,
        importance=driver.proposals.importance(),
    )
    headline, said = outcome(record, verdict, cut=more)
    record = dataclasses.replace(record, headline=headline, outcome=said)
    record.write(driver.folder)
    arm = verdict.chosen if verdict is not None else None
    found = record.plan(arm) if arm is not None else ProposedPlan(-1)
    rates = {site: p for site, p in found.rates.items() if p > 0}
    return SearchResult(driver.folder, record, run, verdict, arm, rates, dict(found.existing))


def _check_metrics(spec: SpaceSpec, recipe: Recipe) -> None:
    named = [("objective", name) for name in spec.objective]
    named += [("constraints", each.metric) for each in spec.constraints]
    for where, name in named:
        if name not in recipe.metrics:
            raise ArgumentError(
                f"{where}: expected a metric of {recipe.name}, got {quote(name)}"
                f"{nearest(name, recipe.metrics)}"
            )


def _new_record(
    base: Experiment,
    space: Space,
    spec: SpaceSpec,
    asked: Asked,
    keys: Mapping[str, Any],
    divided: Any,
    used: set[int],
) -> SearchRecord:
    recipe = base.recipe
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
        spec.objective,
        tuple(recipe.metrics[name].higher_is_better for name in spec.objective),
        tuple(map(str, spec.constraints)),
        mine,
        fresh,
        len(divided.searched.validation),
        len(divided.fresh.validation),
        divided.source,
        metrics=dict(recipe.metrics),
        test_metrics=dict(recipe.test_metrics),
    )


def _tell_warm(proposals: Proposals, told: Sequence[Told], record: SearchRecord) -> SearchRecord:
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


def _best_of(
    told: Sequence[Told], objective: Sequence[str], higher: Sequence[bool]
) -> list[Mapping[str, Any]]:
    """Return the two best plans of earlier runs, to be trained on the seeds of the search."""
    sign = -1 if higher[0] else 1
    order = sorted(told, key=lambda each: sign * each.values[objective[0]])
    return [each.choice for each in order[:2]]


def _begin(
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
def _locked(folder: Path) -> Iterator[None]:
    results.preflight(folder, 20_000_000)
    lock = FileLock(folder / "search.lock", timeout=0, thread_local=False)
    try:
        with lock:
            yield
    except Timeout:
        raise RunError(
            f"{folder}: another droplab is at this search; wait for it to end, or stop it first"
        ) from None
