"""Whether many passes with dropout predict better than the plain one, over the seeds of a run."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from droplab import data, results
from droplab.data import AnySplit, Split
from droplab.errors import ArgumentError, RunError
from droplab.placement import inner
from droplab.recipe import DataSpec, Recipe, builtin_names, load
from droplab.report import SCORE_LABELS, Averaging
from droplab.studies._averaging_figures import Pages
from droplab.studies._experiment import Experiment
from droplab.studies._predicted import AVERAGED, PLAIN, Predicted, predicted
from droplab.studies._resolve import resolve
from droplab.studies._trained import trained_replica
from droplab.train.outputs import find_part
from droplab.train.tasks import KINDS
from droplab.uncertainty import NothingDrops, Prediction, score
from droplab.verdict import Verdict, judge


def compare_averaging(
    folder: str | Path,
    *,
    arm: str | None = None,
    passes: int = 50,
    figures: bool = False,
    other: str | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Averaging:
    """Score the models of a run by a plain pass and by the mean of many with dropout.

    Args:
        folder: The run.
        arm: Whose models; None: those of the chosen arm.
        passes: How many passes.
        figures: Whether to measure what a page draws, too: fewer passes, calibration with a
            temperature, risk against coverage, and the least and most certain examples.
        other: Data of another kind, by its name or path, about which the passes should be less
            certain.
        progress: Told how many of how many seeds are done, a part of one among them.

    Raises:
        RunError: If the run has no such arm or no weights of it, its data is not what it was, or
            its task is neither classification nor regression.
        ArgumentError: If nothing drops in the arm's models, `passes` is below 2, or the other data
            is not of the shape of the run's.
    """
    result = results.load(folder)
    recipe = result.recipe
    if recipe.loop is not None or predicted(recipe.task, ()) is None:
        what = "one of a loop of somebody's own" if recipe.loop else f"one of {recipe.task}"
        raise RunError(
            f"{result.path}: expected a run of classification or regression that droplab trained, "
            f"got {what}; use droplab.uncertainty.predict with the model"
        )
    name = arm or judge(result).chosen or recipe.baseline.name
    seeds = sorted(m.seed for m in result.members if m.arm == name and m.state == "done")
    if not seeds:
        known = ", ".join(_arms(result))
        raise RunError(f"{result.path}: no trained replica of an arm '{name}'; it has {known}")
    if recipe.data.folds is not None:
        there = Counter(seed // recipe.data.folds for seed in seeds)
        seeds = [seed for seed in seeds if there[seed // recipe.data.folds] == recipe.data.folds]
    if not seeds:
        raise RunError(
            f"{result.path}: expected all {recipe.data.folds} folds of a repeat trained in arm "
            f"'{name}', to judge over folds, got only some; resume the run first"
        )
    experiment = resolve(recipe)
    check_data(result, experiment)
    by = predicted(recipe.task, experiment.classes)
    assert by is not None
    compared = Compared(
        experiment.splits.validation,
        by,
        passes,
        shared=experiment.splits.of_seed is None,
        figures=figures,
        other=other,
    )
    for number, seed in enumerate(seeds):
        model, split = trained_replica(experiment, result.path, name, seed)
        try:
            compared.add(model, seed, split, _part_of(progress, number, len(seeds)))
        except NothingDrops as error:
            others = ", ".join(each for each in _arms(result) if each != name)
            raise ArgumentError(
                f"{result.path}: the models of arm '{name}' are without any dropout; name another "
                f"arm (--arm): {others}"
            ) from error
        if progress is not None:
            progress(number + 1, len(seeds))
    return replace(
        compared.averaging(),
        arm=name,
        verdict=_judged(compared.rows, by, recipe),
        ensembles=compared.ensembles(),
    )


def _arms(result: results.RunResult) -> list[str]:
    return list(dict.fromkeys(member.arm for member in result.members))


def _part_of(
    progress: Callable[[float, int], None] | None, number: int, of: int
) -> Callable[[int, int | None], None] | None:
    """Return what tells of inputs that are done as a part of a seed."""
    if progress is None:
        return None
    return lambda done, total: progress(number + done / (total or done), of)


def _judged(rows: Sequence[Mapping[str, Any]], by: Predicted, recipe: Recipe) -> Verdict:
    """Judge Monte Carlo against plain as arms of the run are, over seeds or over folds."""
    columns: Any = {"arm": "prediction", "seed": "seed", "baseline": PLAIN}
    folds, held = recipe.data.folds, recipe.data.stop_on_fold
    found = results.load_rows(rows, metrics=by.judged, folds=folds, **columns)
    spec = replace(found.recipe.data, stop_on_fold=held)  # the fewer rows are trained on
    metrics = {n: replace(each, label=SCORE_LABELS[n]) for n, each in found.metrics.items()}
    return judge(replace(found, recipe=replace(found.recipe, data=spec), metrics=metrics))


def average_model(
    model: nn.Module,
    data: str,
    *,
    task: str | None = None,
    passes: int = 50,
    figures: bool = False,
    other: str | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Averaging:
    """Score one model by a plain pass and by the mean of many with dropout.

    What needs several seeds is left out: the verdict, and the ensemble. So are scores, calibration
    and risk where the data has no targets.

    Args:
        model: A classifier or a regression with dropout, trained.
        data: A recipe, whose validation examples are taken, or a data set by name or path, of
            which it is the test split, or all where it has none.
        task: "classification", "binary" or "regression"; None: what the data says.
        passes: How many passes.
        figures: As in `compare_averaging`, and so is `other`.
        other: Data of another kind.
        progress: As in `compare_averaging`, of one seed.

    Raises:
        ArgumentError: If nothing drops in the model, `passes` is below 2, the outputs do not suit
            the task, or the data is of another task, is streamed, or differs with the seed.
        DataError: If the data cannot be read.
        PlacementError: If the model does not run on the data.
    """
    alone = _inputs_of(data)
    if alone is None:
        split, classes, said, which = examples_of(data, task)
    elif task is None:
        raise ArgumentError(
            f"{data}: expected a task with examples that have no targets, got none; say which "
            "(--task)"
        )
    else:
        split, classes, said, which = alone, (), task, "given"
    by = predicted(said, classes)
    if by is None or not isinstance(split, Split):
        what = f"task '{said}'" if by is None else "streamed data"
        raise ArgumentError(
            f"{data}: expected examples of a classification or a regression, in memory, got "
            f"{what}; use droplab.uncertainty.predict with the model"
        )
    labelled = alone is None
    compared = Compared(split, by, passes, figures=figures, other=other, labelled=labelled)
    with _taking_outputs(model, split, len(classes), by.task) if labelled else nullcontext():
        try:
            compared.add(model, 0, split, _part_of(progress, 0, 1))
        except NothingDrops as error:
            raise ArgumentError(
                f"expected a model with dropout, got a {type(inner(model)).__name__} without any "
                "dropout; put some into its code, or take an arm of a run that has some"
            ) from error
    return replace(compared.averaging(), split=which)


@contextmanager
def _taking_outputs(model: nn.Module, split: Split, classes: int, task: str) -> Iterator[None]:
    """Let a model that returns several things return the part that training would take."""
    part = None
    with suppress(Exception):  # of a model that cannot be copied: prediction tells
        part, _ = find_part(copy.deepcopy(model), split, len(split), classes, KINDS[task]())
    handle = inner(model).register_forward_hook(part) if part is not None else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def examples_of(
    source: str, task: str | None
) -> tuple[AnySplit | None, tuple[str, ...], str | None, str]:
    """Return the examples that a recipe or data has for scoring, classes, task and split."""
    if _is_recipe(source):
        recipe = load(source)
        if recipe.data.of_seed:
            raise ArgumentError(
                f"{source}: expected a recipe with one validation split, got one whose split "
                "differs with the seed; give the data that was held out, by its path"
            )
        dataset = data.load(recipe.data, task=task or recipe.task)
        split = data.carve(dataset, recipe.data).validation
        return split, dataset.classes, task or recipe.task or dataset.task, "validation"
    spec = source if source in data.names() else DataSpec(path=source)
    dataset = data.load(spec, task=task)
    said = task or dataset.task
    if dataset.test is None:
        return dataset.train, dataset.classes, said, "given"
    return dataset.test, dataset.classes, said, "test"


def _inputs_of(source: str) -> Split | None:
    """Return inputs that stand without targets; None if it is a recipe, known data, or has some."""
    known = _is_recipe(source) or source in data.names()
    return None if known else data.load_inputs(source)


def _is_recipe(source: str) -> bool:
    return source in builtin_names() or source.endswith(".toml")


class Compared:
    """Models by a plain pass and by many, one after the other.

    Args:
        own: The examples that they are scored on; each seed's own are of this shape.
        by: How models of the task predict.
        passes: How many passes.
        shared: Whether all seeds are scored on the same examples.
        figures: Whether to measure what a page draws.
        other: Data of another kind, by its name or path.
        labelled: Whether the examples have targets, to score by.
    """

    def __init__(
        self,
        own: AnySplit,
        by: Predicted,
        passes: int,
        *,
        shared: bool = True,
        figures: bool = False,
        other: str | None = None,
        labelled: bool = True,
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._by, self._passes, self._shared, self._figures = by, passes, shared, figures
        self._labelled = labelled
        self._pages = Pages(own, by, passes, shared=shared, labelled=labelled)
        self._outside = self._pages.outside(other) if other is not None else None
        self._found: dict[str, list[Prediction]] = {PLAIN: [], AVERAGED: []}
        self._targets: list[Tensor] = []

    def add(self, model: nn.Module, seed: int, split: Split, progress: Any = None) -> None:
        """Score a model on its examples, with masks of its seed."""
        many = self._by.many(model, split, self._passes, seed, progress)
        both = {PLAIN: self._by.plain(model, split), AVERAGED: many}
        if self._labelled:
            both = {way: self._by.fitted(each, split.targets) for way, each in both.items()}
        for way, prediction in both.items():
            self._found[way].append(prediction)
            scores = self._scores(prediction, split.targets) if self._labelled else {}
            self.rows.append({"prediction": way, "seed": seed, **scores})
        self._targets.append(split.targets)
        if self._figures:
            self._pages.add(model, seed, split, both)
        if self._outside is not None:
            self._pages.tell_apart(model, seed, self._outside, both)

    def _scores(self, prediction: Prediction, targets: Tensor) -> dict[str, float]:
        found = score(prediction, targets)
        return {name: found[name] for name in self._by.scores}

    def averaging(self) -> Averaging:
        """Return all that was found, but what is made of several seeds."""
        errors = [each.errors["mean"].mean() for each in self._found[AVERAGED]]
        averaging = Averaging(
            passes=self._passes,
            examples=len(self._found[PLAIN][0].mean),
            rows=tuple(self.rows),
            error=float(torch.stack(errors).mean()),
            task=self._by.task,
            by_chance=_mean([self._by.by_chance(each) for each in self._found[AVERAGED]]),
        )
        return replace(averaging, **self._pages.drawn())

    def ensembles(self) -> dict[str, dict[str, float]]:
        """Return the scores of the mean of all models; none where each saw other examples."""
        if not self._shared:
            return {}
        found: dict[str, dict[str, float]] = {}
        for way, each in self._found.items():
            together = self._by.fitted(self._by.together(each), self._targets[0])
            found[way] = self._scores(together, self._targets[0])
        return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None


def check_data(result: results.RunResult, experiment: Experiment) -> None:
    try:
        before = json.loads(result.notes.get("data", "{}"))
    except ValueError:
        before = {}
    now = experiment.dataset.get("checksum")
    if before.get("checksum") not in (None, now):
        raise RunError(
            f"{result.path}: the data is not what the run was made with (its checksum was "
            f"{before['checksum']}, and is {now}); bring back the data of then"
        )
