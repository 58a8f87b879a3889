"""A study of somebody's own training loop: arms x seeds of trials, their rows, and the verdict."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from droplab import results
from droplab.errors import ArgumentError, RunError, quote
from droplab.limits import SEEDS
from droplab.numeric import whole
from droplab.recipe import Arm, Recipe, dumps, own_loop
from droplab.report import render
from droplab.results import RunResult, StudyStore
from droplab.studies._first_model import first_placed
from droplab.studies._folders import slug
from droplab.studies._loop_trial import Trial, run_trial
from droplab.studies._observer import Observer, Observers
from droplab.studies._own_arms import read_arms
from droplab.studies._script import run_scripts
from droplab.studies._study_driver import StudyDriver, with_loop
from droplab.studies._trial_worker import check_can_send, is_importing
from droplab.studies.cluster import RayCluster
from droplab.verdict import Verdict, judge

_LOG = logging.getLogger("droplab.studies")

Train = Callable[[Trial], Any]
Member = tuple[str, int]


class Study:
    """Arms x seeds of a training loop that is not droplab's; see `study`.

    Args:
        folder: The study's folder.
        recipe: Its arms, seeds and metrics.
        train: What `run` runs for every trial unless it is given another function.
        observer: Told of every row and of how each trial ended.
        resume: Whether it may be there already.
        quiet: Whether nothing is printed while it goes on.
        arms: Names of the arms that are run; None for all.
        validated_on: Whose examples what it reports is about: see `droplab.verdict.validated_on`.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: Recipe,
        *,
        train: Train | None = None,
        observer: Observer | None = None,
        resume: bool = False,
        quiet: bool = False,
        arms: Sequence[str] | None = None,
        validated_on: str = "own",
    ) -> None:
        self.folder = Path(folder)
        self.recipe = recipe
        self._train, self._observer = train, observer or Observer()
        self._resume, self._quiet = resume, quiet
        self._arms, self._validated_on = arms, validated_on
        self._loop: Iterator[Trial] | None = None

    def __repr__(self) -> str:
        arms, seeds = len(self.recipe.arms), len(self.recipe.seeds)
        return f"Study({str(self.folder)!r}, {arms} arms x {seeds} seeds)"

    def run(
        self,
        train: Train | None = None,
        *,
        workers: int = 1,
        cluster: RayCluster | None = None,
    ) -> Verdict:
        """Run every trial that is not done, seed by seed, and return the verdict.

        A trial that raises is kept as failed with its reason, and the others go on; a study that
        is resumed tries it again. Where an arm means nothing in the model, the first trial ends the
        study. What is finished is on disk: a study that is stopped, or killed, goes on from there
        with `resume=True`.

        Args:
            train: Called with a `Trial` for every arm and seed; None for what the study was made
                with, as those of `droplab.integrations` are.
            workers: Trials at a time, each in a process of its own; 1 for this process.
            cluster: Whose processes run the trials, each one after another, instead.

        Raises:
            ArgumentError: If `train` is no function, or another process could not find it.
            RunError: If the folder cannot be used, an arm fits no model, or every trial failed.
        """
        self.run_trials(train, workers=workers, cluster=cluster)
        return self.verdict()

    def run_trials(
        self,
        train: Train | None = None,
        *,
        workers: int = 1,
        cluster: RayCluster | None = None,
    ) -> None:
        """Do what `run` does, without a verdict: for what has no baseline, or may fail as a whole.

        Args and errors are those of `run`.
        """
        train = self._train if train is None else train
        if not callable(train):
            raise ArgumentError(f"run: expected a function of a trial, got {quote(train)}")
        count = whole(workers)
        if count is None or count < 1:
            raise ArgumentError(f"workers: expected at least 1, got {quote(workers)}")
        if is_importing():
            raise RunError(
                "study: this script is being imported by a worker of its own study; put what "
                'calls study.run under if __name__ == "__main__":'
            )
        main = cluster is None and count > 1 and check_can_send(train)
        with self._opened(_place_of(train)) as driver:
            todo = driver.todo()
            if count == 1 and cluster is None:
                for arm, seed in todo:
                    driver.begin(arm, seed)
                    keep = driver.keep(arm, seed)
                    ended = run_trial(self.recipe, arm, seed, train, driver.row, keep)
                    driver.end(arm, seed, ended)
            else:
                driver.run_beside(todo, train, count, main=main, cluster=cluster)

    def again(
        self,
        folder: Path,
        recipe: Recipe,
        arms: Sequence[str],
        validated_on: str,
        observer: Observer,
    ) -> Study:
        """Return a study of the same loop in another folder, which goes on with what is there.

        Args:
            folder: Its folder.
            recipe: Its arms, seeds and metrics.
            arms: Names of the arms that are run.
            validated_on: Whose examples what it reports is about.
            observer: Told of everything, beside the observer of this study.
        """
        return Study(
            folder,
            recipe,
            train=self._train,
            observer=Observers(self._observer, observer),
            resume=True,
            quiet=self._quiet,
            arms=arms,
            validated_on=validated_on,
        )

    def model(self) -> tuple[nn.Module, Any]:
        """Return the model that the loop places first, and the example that it gives, if any.

        The loop runs until there, with the first seed, and no further.

        Raises:
            ArgumentError: If the study was made without a loop.
            RunError: If the loop ends, or fails, before it places a model.
        """
        if self._train is None:
            raise ArgumentError(
                "train: expected a study that was made with its loop, got none; give it to study "
                "as train="
            )
        return first_placed(self.recipe, self._train)

    def run_script(
        self, command: Sequence[str], *, workers: int = 1, cluster: RayCluster | None = None
    ) -> Verdict:
        """Run a script once for each trial that is not done, and return the verdict.

        The script asks for its trial with `droplab.trial()`. What it prints goes to a file a trial
        in `logs` of the study's folder.

        Args:
            command: The script and its arguments.
            workers: Processes at a time.
            cluster: Whose nodes run the script, each process of the cluster one after another,
                instead.

        Raises:
            RunError: If the folder cannot be used, an arm fits no model, or every trial failed.
        """
        with self._opened(" ".join(command)) as driver:
            run_scripts(driver, self.recipe, command, self.folder, workers, cluster)
        return self.verdict()

    def __iter__(self) -> Iterator[Trial]:
        """Yield the trials that are not done, in this process.

        For notebooks: an error in the loop, or a `break`, leaves its trial unfinished, to be run
        again. Inside `with trial:` an error fails the trial, and the loop goes on.
        """
        if self._loop is not None:
            self._loop.close()  # pyright: ignore[reportAttributeAccessIssue] # it is a generator
        self._loop = self._trials()
        return self._loop

    def _trials(self) -> Iterator[Trial]:
        with self._opened("for trial in study") as driver:
            for arm, seed in driver.todo():
                driver.begin(arm, seed)
                trial = Trial(self.recipe, arm, seed, driver.row, driver.keep(arm, seed))
                trial.open()
                try:
                    yield trial
                except BaseException as error:
                    trial.close(error)
                    raise
                driver.end(arm, seed, trial.close())

    def _opened(self, train: str) -> StudyDriver:
        recipe = self.recipe
        there = (self.folder / "run.sqlite").exists()
        if there and not self._resume:
            raise RunError(
                f"{self.folder}: holds a study already; go on with it with resume=True (on the "
                "command line --resume), or choose another folder"
            )
        if there:
            store = StudyStore.open_for_resume(self.folder, digest=recipe.digest)
            store.remove_half_written()
        else:
            recipe = with_loop(recipe, train=train)
            store = StudyStore.create(
                self.folder,
                dumps(recipe),
                recipe.digest,
                results.environment(),
                [(arm.name, seed) for seed in recipe.seeds for arm in recipe.selected(self._arms)],
                notes={
                    "data": json.dumps({"validated_on": self._validated_on, "test": 0}),
                    "command": "droplab.study(...)",
                },
                metrics=recipe.metrics.values(),
                test_metrics=(),
            )
        self._resume = True  # this object goes on with what it began
        return StudyDriver(store, self._quiet, self._observer)

    def result(self) -> RunResult:
        """Return what is on disk so far.

        Raises:
            RunError: If nothing is.
        """
        return results.load(self.folder)

    def verdict(self) -> Verdict:
        """Return what the trials that have ended show.

        Raises:
            RunError: If none has, or all failed.
        """
        found = self.result()
        if found.members and all(each.state == "failed" for each in found.members):
            first = found.members[0]
            raise RunError(
                f"{self.folder}: every trial failed; arm '{first.arm}', seed {first.seed}: "
                f"{first.message}"
            )
        return judge(found)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report as one HTML page, and return where it is.

        Args:
            out: Where it goes; None for report.html in the study's folder.
        """
        found = self.result()
        page = Path(out) if out is not None else self.folder / "report.html"
        try:
            page.write_text(render(found, judge(found)), encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"{page}: the report cannot be written ({error.strerror or error}); choose "
                "another place"
            ) from error
        return page


def _place_of(train: Train) -> str:
    found: Any = inspect.unwrap(train)  # of an integration, what it was given
    name = getattr(found, "__qualname__", type(found).__name__)
    return f"{getattr(found, '__module__', '')}:{name}"


def study(
    folder: str | Path,
    *,
    arms: Mapping[str, Any] | Sequence[Arm],
    seeds: int | Sequence[int] | None = None,
    metrics: Mapping[str, str],
    primary: str | None = None,
    folds: int | None = None,
    margin_size: float | None = None,
    train: Train | None = None,
    observer: Observer | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Study:
    """Return a study of a training loop of your own: what changes if nothing but dropout does?

    Args:
        folder: Where it goes; `droplab report` and the lab open it as any run.
        arms: Name -> what drops: {} for the baseline, 0.1 for every hidden site, {"fc2": 0.5} for
            some, {"existing": {"*attn*": 0.0}} for dropout that the model has already, and
            "schedule" and "kind" beside them as in a recipe.
        seeds: How many seeds, or which; None for 8, or for one repeat of the folds.
        metrics: What trials report after every epoch, and what of it is better: "lower" or
            "higher".
        primary: The metric that decides; None for the first.
        folds: That a seed is a fold of a cross-validation, s mod `folds` of repeat s div `folds`,
            which your loop takes to be so. Differences of folds share examples, and are judged by a
            test that knows. None: seeds are runs of their own.
        margin_size: The smallest improvement of interest, in the unit of the metric that decides:
            over folds the verdict can then say that there is none so large. (Over seeds that takes
            the error of the examples, which no loop reports.) None: none is named.
        train: The function to run, where `run` is not to be given it.
        observer: Told of every row and of how each trial ended, for example
            `droplab.integrations.tensorboard.Rows("logs")`.
        resume: Go on with the study in that folder: trials that are not done, and those that
            failed.
        quiet: Print nothing while it goes on.

    Raises:
        RecipeError: If a value is impossible.

    Example:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> def train(trial):
        ...     model = trial.place(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     for epoch in trial.epochs(2):
        ...         x = torch.randn(16, 4)
        ...         loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        ...         optimizer.zero_grad(), loss.backward(), optimizer.step()
        ...         trial.report(train_loss=loss.detach())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mine = study(
        ...         folder, arms={"none": {}, "half": 0.5}, seeds=6, quiet=True,
        ...         metrics={"train_loss": "lower"},
        ...     )
        ...     [len(arm.seeds) for arm in mine.run(train).arms]
        [6, 6]
    """
    if not isinstance(metrics, Mapping) or not metrics:
        raise ArgumentError(
            f"metrics: expected names and 'lower' or 'higher', got {quote(metrics)}; write "
            "{'val_loss': 'lower'} for example"
        )
    name = slug(Path(folder).absolute().name)[:64]
    decides = next(iter(metrics)) if primary is None else primary
    listed = read_arms(arms)
    if seeds is None:
        seeds = whole(folds) or 8  # what is no number of folds, the recipe refuses
    recipe = own_loop(
        name,
        "",
        metrics,
        decides,
        listed,
        _seeds(seeds),
        folds=folds,
        margin_size=margin_size,
    )
    return Study(folder, recipe, train=train, observer=observer, resume=resume, quiet=quiet)


def _seeds(given: int | Sequence[int]) -> list[int]:
    count = whole(given)
    if count is None:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ArgumentError(f"seeds: expected how many, or which, got {quote(given)}")
        return list(given)
    if not 1 <= count <= SEEDS:
        raise ArgumentError(f"seeds: expected how many, from 1 to {SEEDS}, got {count}")
    return list(range(count))
