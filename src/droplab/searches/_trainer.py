"""Who trains what a search proposes: droplab's engine, or a loop of somebody's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from droplab import results
from droplab.errors import RunError
from droplab.placement import OwnDropout
from droplab.recipe import Arm, Recipe
from droplab.results import RunResult
from droplab.searches._examples import Divided
from droplab.searches._space import Space
from droplab.searches._spec import SpaceSpec
from droplab.studies import Experiment, Observer, RayCluster, Study, assemble, rescored, run
from droplab.train import ExecutionPlan

_RUN = "run.sqlite"

Scores = Mapping[tuple[str, int], Mapping[str, float]]
"""For each (arm, seed): metric -> number."""


class Trainer(Protocol):
    """Trains the arms of a generation, and of the last run."""

    @property
    def recipe(self) -> Recipe:
        """What is searched."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What the record says of the examples."""
        ...

    @property
    def checksum(self) -> str:
        """Of the data; "" where droplab does not see it."""
        ...

    def space(self, spec: SpaceSpec) -> Space:
        """Return what may be proposed for the model."""
        ...

    def train(
        self,
        arms: Sequence[Arm],
        names: Sequence[str],
        seeds: Sequence[int],
        place: str,
        title: str,
        *,
        until: int | None = None,
        fresh: bool = False,
        check: bool = False,
    ) -> RunResult:
        """Train arms in a folder of the search, or go on there.

        Args:
            arms: All arms, the baseline first: they have the same sites.
            names: Which of them are trained.
            seeds: The seeds.
            place: The folder's name.
            title: What the run is called.
            until: The epoch after which they stop, to go on later; None: the last one.
            fresh: Whether it is the last run, measured on what the search never scored.
            check: Look at code and data also where there is nothing left to train.
        """
        ...

    def searched(self, result: RunResult) -> Scores:
        """Return what the replicas of the last run reach on the examples of the search."""
        ...

    def fresh_metric(self, metric: str) -> str | None:
        """Return what the last run has of a metric on fresh examples; None: nothing."""
        ...


@dataclasses.dataclass
class EngineTrainer:
    """Trains by droplab's engine, all arms of a generation together where the model allows it.

    Args:
        base: The experiment that is searched, with the recipe's own arms and examples.
        divided: The examples that the search scores, and those that it never does.
        folder: The folder of the search.
        observer: Told of everything as it happens.
        plan: How steps are executed; None: as the first generation measures it.
        device: Where; None: a CUDA device if there is one.
        cluster: Whose processes train; None: those of this machine.
        changed_code: Go on although the code has changed.
    """

    base: Experiment
    divided: Divided
    folder: Path
    observer: Observer
    plan: ExecutionPlan | None = None
    device: str | None = None
    cluster: RayCluster | None = None
    changed_code: bool = False

    @property
    def recipe(self) -> Recipe:
        """The recipe that is searched."""
        return self.base.recipe

    @property
    def about(self) -> Mapping[str, Any]:
        """What the record says of the examples."""
        return self.divided.about

    @property
    def checksum(self) -> str:
        """Of the data set."""
        return self.base.dataset["checksum"]

    def space(self, spec: SpaceSpec) -> Space:
        """Return what may be proposed for the model of the recipe."""
        return Space.of(spec, self.base.new_model(self.recipe.seeds[0]), self.base.own.dropout)

    def train(
        self,
        arms: Sequence[Arm],
        names: Sequence[str],
        seeds: Sequence[int],
        place: str,
        title: str,
        *,
        until: int | None = None,
        fresh: bool = False,
        check: bool = False,
    ) -> RunResult:
        """Train arms as `Trainer` says."""
        folder = self.folder / place
        if not check and (found := _trained(folder, names, until)):
            return found
        began = (folder / _RUN).is_file()
        plan = None if began else self.plan
        try:
            found = run(
                self._experiment(arms, seeds, title, fresh=fresh),
                folder,
                arms=names,
                resume=began,
                changed_code=self.changed_code and began,
                plan=plan,
                device=self.device if plan is None and not began else None,
                until=until,
                cluster=self.cluster,
                observer=self.observer,
            )
        except RunError:
            found = results.load(folder) if (folder / _RUN).is_file() else None
            if found is None or any(each.state != "nan" for each in found.members):
                raise  # else every replica became NaN: what Optuna is told of as failed
        if self.plan is None:
            self.plan = ExecutionPlan.from_dict(found.plan)
        return found

    def searched(self, result: RunResult) -> Scores:
        """Score the weights of the last run on the searched examples."""
        recipe = result.recipe
        return rescored(
            result,
            self._experiment(recipe.arms, recipe.seeds, "searched examples again", fresh=False),
        )

    def fresh_metric(self, metric: str) -> str | None:
        """Return the metric itself, which is measured on fresh examples in the last run."""
        return metric

    def _experiment(
        self, arms: Sequence[Arm], seeds: Sequence[int], title: str, *, fresh: bool
    ) -> Experiment:
        """Return the experiment of some arms, on some of the examples."""
        base, recipe = self.base, self.base.recipe
        data = recipe.data
        if fresh and self.divided.source == "test" and data.train:
            data = dataclasses.replace(data, validation="test")  # what it then says by itself
        own = dataclasses.replace(
            recipe,
            name=f"{recipe.name}-search",
            title=f"{recipe.title or recipe.name}: {title}",
            story="",
            hints=(),
            target=None,
            data=data,
            arms=tuple(arms),
            seeds=tuple(seeds),
        )
        # the same data set, but other examples of it: a run on these never goes on with those
        checksum = f"{base.dataset['checksum']} {'confirmed' if fresh else 'searched'}"
        about = {**base.dataset, "checksum": checksum}
        return assemble(
            own,
            self.divided.fresh if fresh else self.divided.searched,
            about,
            base.classes,
            base.build,
            base.make_optimizer,
            base.own_loss,
            base.own_metrics,
        )


@dataclasses.dataclass
class LoopTrainer:
    """Trains by a loop of somebody's own, one trial for each arm and seed.

    droplab sees nothing of its data. What the loop reports is taken at its word: `test_metric` is
    measured on examples that decide nothing in the search.

    Args:
        study: The loop.
        recipe: Its metrics, and seeds of the last run.
        folder: The folder of the search.
        test_metric: What the last run is judged by; None: what decides in the search.
        observer: Told of everything as it happens.
        how: `workers` and `cluster` of `Study.run`.
        checksum: Of the data, which nobody sees.
    """

    study: Study
    recipe: Recipe
    folder: Path
    test_metric: str | None
    observer: Observer
    how: Mapping[str, Any]
    checksum: str = ""

    @property
    def about(self) -> Mapping[str, Any]:
        """What the record says of the examples: nobody knows how many there are."""
        return {"searched": 0, "fresh": 0, "fresh_from": self.test_metric or ""}

    def space(self, spec: SpaceSpec) -> Space:
        """Return what may be proposed for the model that the loop places."""
        model, example = self.study.model()
        return Space.of(spec, model, OwnDropout.of(model, example))

    def train(
        self,
        arms: Sequence[Arm],
        names: Sequence[str],
        seeds: Sequence[int],
        place: str,
        title: str,
        *,
        until: int | None = None,
        fresh: bool = False,
        check: bool = False,
    ) -> RunResult:
        """Train arms as `Trainer` says; a trial that fails is as one that became NaN.

        Raises:
            RunError: If a trial of the baseline failed: nothing could be compared with it. Or if
                the test metric is not reported, before the last run needs it.
        """
        del check, until
        folder = self.folder / place
        found = _trained(folder, names, None)
        if found is None:
            primary = (fresh and self.test_metric) or self.recipe.primary
            where = "own" if not fresh else "fresh test" if self.test_metric else "searched"
            recipe = dataclasses.replace(
                self.recipe,
                name=f"{self.recipe.name}-search",
                title=title,
                arms=tuple(arms),
                seeds=tuple(seeds),
                primary=primary,
            )
            mine = self.study.again(folder, recipe, names, where, self.observer)
            mine.run_trials(**self.how)
            found = mine.result()
        for each in found.members:
            if each.state == "failed" and each.arm == arms[0].name:
                raise RunError(
                    f"{folder}: the baseline failed with seed {each.seed}, so there is nothing to "
                    f"compare plans with: {each.message}"
                )
        if self.test_metric and any(math.isnan(row.values[self.test_metric]) for row in found.rows):
            raise RunError(
                f"{folder}: expected {self.test_metric} in every report, since it judges what the "
                "search finds, got epochs without it; report it in each, or leave test_metric out"
            )
        return found

    def searched(self, result: RunResult) -> Scores:
        """Return what the loop has reported at last."""
        return {(row.arm, row.seed): row.values for row in result.rows}  # in order of epochs

    def fresh_metric(self, metric: str) -> str | None:
        """Return the test metric, for what decides in the search."""
        return self.test_metric if metric == self.recipe.primary else None


def _trained(folder: Path, names: Sequence[str], until: int | None) -> RunResult | None:
    """Return a run whose arms of these names are trained so far; None if it is not there."""
    if not (folder / _RUN).is_file():
        return None
    found = results.load(folder)
    last = found.recipe.epochs
    until = last if until is None else until
    left = any(
        each.state in ("waiting", "running") and (until == last or each.epochs_done < until)
        for each in found.members
        if each.arm in names
    )
    return None if left else found
