"""What a search proposed and what came of it, in one file that needs neither torch nor Optuna."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from droplab.documents import DocumentError, parse_json, read_text
from droplab.errors import RunError
from droplab.recipe import METRICS, TEST_METRICS, Metric
from droplab.results._whole_file import whole_file

SEARCH_FILE = "search.json"


@dataclass(frozen=True)
class ProposedPlan:
    """One plan that a search proposed.

    Args:
        number: Its number in Optuna's study.
        source: "common" for one rate everywhere, "sampler", or the run it was told from.
        state: "waiting", "done", "pruned" (given up after some seeds), or "failed" (a number that
            decides became NaN or infinite).
        generation: Which generation it was trained in; 0: it was told from another run.
        choice: What Optuna chose, by name.
        rates: Site -> probability of dropping.
        existing: The rates of the model's own dropout that it changes.
        kind: The kind of dropout; None: what suits each site.
        schedule: How the rates change with the step; None: they stay.
        values: Metric -> mean over the seeds of the search; None where it is not finite.
        seeds: How many seeds these are means over.
        epochs: After how many epochs of each; 0: an earlier version did not say, or the run that
            it was told by.
        met: Whether it meets the constraints.
    """

    number: int
    source: str = "sampler"
    state: str = "waiting"
    generation: int = 0
    choice: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    existing: Mapping[str, float] = field(default_factory=dict[str, float])
    kind: str | None = None
    schedule: str | None = None
    values: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    seeds: int = 0
    epochs: int = 0
    met: bool = True

    @property
    def name(self) -> str:
        """What it is called as an arm."""
        return f"plan {self.number}"


@dataclass(frozen=True)
class Shrinkage:
    """What is left of a difference to the baseline where nothing was chosen by it.

    Args:
        arm: The arm.
        metric: The metric.
        searched: The difference that the search saw: its seeds, its examples.
        seeds: The mean difference over fresh seeds, on the same examples.
        seeds_low: Lower end of its interval; None: there is none, as for the other ends.
        seeds_high: The upper end.
        fresh: The mean difference over fresh seeds, on examples that the search never scored.
        fresh_low: Lower end of its interval.
        fresh_high: The upper end.
    """

    arm: str
    metric: str
    searched: float | None
    seeds: float | None = None
    seeds_low: float | None = None
    seeds_high: float | None = None
    fresh: float | None = None
    fresh_low: float | None = None
    fresh_high: float | None = None


@dataclass(frozen=True)
class SearchRecord:
    """A search: what was asked, every plan that was proposed, and what is left of the best.

    Args:
        name: The recipe's name.
        title: Its title.
        digest: Digest of the recipe that was searched.
        created: When it began, ISO 8601 in UTC.
        asked: Everything that determines the proposals.
        space: What was chosen for each plan, a line each.
        objective: The metrics that decide, one or two.
        higher: For each of them, whether more is better.
        constraints: What a plan has to meet.
        seeds: The seeds of the search.
        fresh_seeds: Those that the winner was trained with again.
        searched: How many validation examples the search scored; 0: not known, of somebody's own
            loop.
        fresh: How many it never scored; 0 likewise.
        fresh_from: "test", or "validation": where these are from. Of somebody's own loop, the
            metric that it reports on such examples; "": none.
        plans: Every plan, in the order of proposal.
        baseline: Metric -> mean of the baseline over the seeds of the search.
        epochs_trained: Epochs of a replica that the search has trained up to the last run.
        winners: Names of the plans that were trained again.
        shrinkage: What is left of each, metric by metric.
        importance: The share of each choice in being among the best quarter, by PED-ANOVA.
        metrics: What was measured after every epoch, by name.
        test_metrics: What is measured on a test split, by name; the score that people look at is
            the first.
        headline: The verdict on the winner, or why there is none; "" while the search goes on.
        outcome: What the search says, sentences.
    """

    name: str
    title: str
    digest: str
    created: str
    asked: Mapping[str, Any]
    space: tuple[str, ...]
    objective: tuple[str, ...]
    higher: tuple[bool, ...]
    constraints: tuple[str, ...]
    seeds: tuple[int, ...]
    fresh_seeds: tuple[int, ...]
    searched: int
    fresh: int
    fresh_from: str
    plans: tuple[ProposedPlan, ...] = ()
    baseline: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    epochs_trained: int = 0
    winners: tuple[str, ...] = ()
    shrinkage: tuple[Shrinkage, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics: Mapping[str, Metric] = field(default_factory=lambda: dict(METRICS))
    test_metrics: Mapping[str, Metric] = field(default_factory=lambda: dict(TEST_METRICS))
    headline: str = ""
    outcome: tuple[str, ...] = ()

    def plan(self, name: str) -> ProposedPlan:
        """Return the plan that is called so as an arm."""
        return next(plan for plan in self.plans if plan.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Write it beside the runs of the search, whole or not at all.

        Raises:
            RunError: If it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with whole_file(folder / SEARCH_FILE) as part:
            part.write_text(f"{text}\n", encoding="utf-8")


def load_search(folder: Path) -> SearchRecord:
    """Read the record of a search.

    Raises:
        RunError: There is none, or it is damaged.
    """
    path = folder / SEARCH_FILE
    if not path.is_file():
        raise RunError(f"{folder}: expected the folder of a search, found no {SEARCH_FILE} there")
    try:
        return TypeAdapter(SearchRecord).validate_python(parse_json(read_text(path)))
    except (DocumentError, ValidationError) as error:
        what = str(error).splitlines()[0]
        raise RunError(f"{path}: is damaged, or of another version of droplab: {what}") from None
