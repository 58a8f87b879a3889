"""A search over plans: proposed by Optuna, trained by the engine, judged on what it never saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droplab import results
from droplab.errors import ArgumentError, nearest, quote
from droplab.recipe import Recipe
from droplab.results import ProposedPlan, RunResult, SearchRecord, Shrinkage
from droplab.searches._asked import Asked
from droplab.searches._begin import (
    begun,
    best_of,
    default_folder,
    locked,
    new_record,
    tell_warm,
)
from droplab.searches._confirm import confirm
from droplab.searches._driver import Driver
from droplab.searches._examples import divide
from droplab.searches._observer import SearchObserver
from droplab.searches._outcome import outcome
from droplab.searches._proposals import Proposals, optuna_version
from droplab.searches._space import Space
from droplab.searches._spec import SECONDS, SpaceSpec, read_space
from droplab.searches._trainer import EngineTrainer, LoopTrainer
from droplab.searches._warm import Told, told_by
from droplab.searches._winners import choose_winners
from droplab.studies import Experiment, RayCluster, Study, resolve
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

    def __repr__(self) -> str:
        """Name the plan that was found, where it drops, and the search."""
        drops = {**self.plan, **self.existing}
        return f"SearchResult({str(self.path)!r}, arm={self.arm!r}, drops={drops})"

    def __str__(self) -> str:
        """Write the verdict and what limits it; what was found, where there is no verdict."""
        return repr(self) if self.verdict is None else str(self.verdict)


def search(
    recipe: Recipe | Experiment | Study,
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
    workers: int = 1,
    cluster: RayCluster | None = None,
    test_metric: str | None = None,
    observer: SearchObserver | None = None,
) -> SearchResult:
    """Search a space of plans, and judge what is found on seeds and examples it never saw.

    Optuna proposes; a generation of proposals is one run of the engine, in which they are trained
    together where the model allows it, all on the same few seeds. Then the best plan and the
    baseline are trained again on fresh seeds and judged on examples that were set aside before
    the first proposal.

    Args:
        recipe: What is trained; its arms do not count. Or an experiment of
            `droplab.studies.resolve` or `droplab.studies.own_experiment`; or a `droplab.study` of a
            training loop of your own, made with `train=`.
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
        workers: Trials of a loop of your own at a time, each in a process.
        cluster: Whose processes train; None for this machine's.
        test_metric: A metric that a loop of your own reports on examples that decide nothing in
            the search, such as "test_loss": the winner is judged by it. None: by what decides,
            and the verdict says that its examples were those of the search.
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
    own = base.recipe
    names = (objective,) if isinstance(objective, str) else tuple(objective or ())
    names = names or spec.objective or (own.primary,)
    spec = dataclasses.replace(spec, objective=names)
    _check_metrics(spec, own, test_metric)
    if isinstance(base, Study):
        given = {"fresh": asked.fresh, "warm": warm, "plan": plan, "device": device}
        _check_loop(base.recipe, {**given, "first_epochs": asked.first_epochs})
    asked = asked.decided(len(spec.objective), own.epochs)
    folder = Path(out) if out is not None else default_folder(own, existing=resume)
    if isinstance(base, Study):
        decided = dataclasses.replace(own, primary=names[0])
        how = {"workers": workers, "cluster": cluster}
        trainer = LoopTrainer(base, decided, folder, test_metric, observer, how)
    else:
        if test_metric is not None or workers != 1:
            raise ArgumentError(
                "test_metric and workers: go with a study of your own loop; a recipe has a test "
                "split, and its plan has workers"
            )
        divided = divide(base.splits, asked.fresh)
        how = plan, device, cluster, changed_code
        trainer = EngineTrainer(base, divided, folder, observer, *how)
    placed = trainer.space(spec)
    told, used = _told(warm, base, placed, spec, trainer.about["fresh_from"])
    keys = {
        **asked.to_dict(
            own,
            spec,
            {str(Path(each)): results.load(each).recipe.digest for each in warm},
            {"optuna": version},
        ),
        "data": trainer.checksum,
        **({"test_metric": test_metric} if test_metric else {}),
    }
    with locked(folder), nullcontext() if cluster is None else cluster.connected():
        record = begun(folder, keys, resume=resume, changed_code=changed_code)
        if record is None:
            record = new_record(own, placed, asked, keys, trainer.about, used)
            record.write(folder)
        proposals = Proposals(
            folder,
            placed.knobs,
            asked.sampler,
            asked.sampler_seed,
            record.higher,
            [record.metrics[name].label for name in record.objective],
        )
        try:
            record = tell_warm(proposals, told, record)
            driver = Driver(trainer, placed, asked, proposals, folder, record, observer)
            if told:
                driver.first = best_of(told, spec.objective, record.higher)
            driver.search()
            return _end(driver)
        finally:
            proposals.close()


def _end(driver: Driver) -> SearchResult:
    """Judge what was found, and write the record for the last time."""
    record = driver.record
    winners, more = choose_winners(
        record.plans, record.objective, record.higher, driver.asked.finalists
    )
    run: RunResult | None = None
    verdict: Verdict | None = None
    shrinkage: tuple[Shrinkage, ...] = ()
    if winners:
        run, verdict, shrinkage = confirm(driver, winners)
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


def _check_loop(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Refuse, of a loop of somebody's own, the settings of droplab's engine, and folds."""
    for name, value in given.items():
        if value:
            raise ArgumentError(
                f"{name}: goes with a recipe, got it with a loop of your own, whose data and steps "
                "are its own; leave it out"
            )
    if recipe.loop is None or recipe.loop.folds is not None:
        raise ArgumentError(
            "search: expected seeds that are runs of their own, got folds, in which every example "
            "is scored; leave folds out"
        )


def _told(
    warm: Sequence[str | Path],
    base: Experiment | Study,
    placed: Space,
    spec: SpaceSpec,
    fresh_from: str,
) -> tuple[list[Told], set[int]]:
    """Return what earlier runs tell, and the seeds that they had."""
    if not warm or isinstance(base, Study):
        return [], set()
    if fresh_from != "test":
        raise ArgumentError(
            "warm: expected a test split to judge on (fresh = 'test'), since the earlier run has "
            "scored all validation examples, also those that would be set aside"
        )
    return told_by([Path(each) for each in warm], base, placed, spec.objective)


def _check_metrics(spec: SpaceSpec, recipe: Recipe, test_metric: str | None) -> None:
    named = [("objective", name) for name in spec.objective]
    named += [("constraints", each.metric) for each in spec.constraints if each.metric != SECONDS]
    named += [] if test_metric is None else [("test_metric", test_metric)]
    for where, name in named:
        if name not in recipe.metrics and "memory" in name and recipe.loop is None:
            raise ArgumentError(
                f"{where}: expected what differs between plans, got {quote(name)}: all plans of a "
                "recipe run the same operations, with rate 0 where they drop nothing, and so take "
                "the same memory; leave it out, or lower batch_size to need less"
            )
        if name not in recipe.metrics:
            raise ArgumentError(
                f"{where}: expected a metric of {recipe.name}, got {quote(name)}"
                f"{nearest(name, recipe.metrics)}"
            )
    if test_metric in {name for where, name in named if where != "test_metric"}:
        raise ArgumentError(
            f"test_metric: expected a metric that decides nothing in the search, got {test_metric}"
        )
