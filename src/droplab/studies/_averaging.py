"""Whether many passes with dropout predict better than the plain one, over the seeds of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from droplab import results
from droplab.data import Split, to_float
from droplab.errors import RunError
from droplab.placement import inner
from droplab.report import Averaging
from droplab.studies._averaging_figures import Pages, certain
from droplab.studies._experiment import Experiment
from droplab.studies._folders import weights_path_in
from droplab.studies._resolve import resolve
from droplab.train import call, evaluating, load_weights
from droplab.uncertainty import Prediction, predict, score
from droplab.verdict import judge

PLAIN, AVERAGED = "plain", "Monte Carlo"

_TASKS: dict[str | None, Literal["classification", "binary"]] = {
    None: "classification",
    "classification": "classification",
    "binary": "binary",
}
_SCORES = {"nll": "lower", "accuracy": "higher", "brier": "lower", "ece": "lower", "aurc": "lower"}
_BLOCK = 256


def compare_averaging(
    folder: str | Path,
    *,
    arm: str | None = None,
    passes: int = 50,
    figures: bool = False,
    other: str | None = None,
    progress: Callable[[int, int], None] | None = None,
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
        progress: Told how many of how many seeds are done.

    Raises:
        RunError: If the run has no such arm or no weights of it, its data is not what it was, or
            its task is not classification.
        ArgumentError: If nothing drops in the arm's models, `passes` is below 2, or the other data
            is not of the shape of the run's.
    """
    result = results.load(folder)
    recipe = result.recipe
    if recipe.loop is not None or recipe.task not in _TASKS:
        what = "one of a loop of somebody's own" if recipe.loop else f"one of {recipe.task}"
        raise RunError(
            f"{result.path}: expected a run of classification that droplab trained, got {what}; "
            "use droplab.uncertainty.predict with the model"
        )
    name = arm or judge(result).chosen or recipe.baseline.name
    seeds = sorted(m.seed for m in result.members if m.arm == name and m.state == "done")
    if not seeds:
        known = ", ".join(dict.fromkeys(m.arm for m in result.members))
        raise RunError(f"{result.path}: no trained replica of an arm '{name}'; it has {known}")
    experiment = resolve(recipe)
    check_data(result, experiment)
    task = _TASKS[recipe.task]
    pages = Pages(experiment, task, passes, _plain)
    outside = pages.outside(other) if other is not None else None
    rows: list[dict[str, Any]] = []
    found: dict[str, list[Prediction]] = {PLAIN: [], AVERAGED: []}
    for number, seed in enumerate(seeds):
        each = experiment.of_seeds([seed])
        split = each.splits.validation
        if not isinstance(split, Split):
            raise RunError(f"{result.path}: expected validation examples in memory, got streamed")
        model = each.replica(recipe.arm(name), seed).model
        load_weights(model, weights_path_in(result.path, recipe, name, seed, "last"))
        inputs = to_float(split.inputs)
        for way, prediction in (
            (PLAIN, _plain(model, split, task)),
            (AVERAGED, predict(model, inputs, passes, seed=seed, task=task)),
        ):
            found[way].append(prediction)
            scores = score(prediction, split.targets)
            rows.append({"prediction": way, "seed": seed, **{s: scores[s] for s in _SCORES}})
        both = {way: each[-1] for way, each in found.items()}
        if figures:
            pages.add(model, seed, split, both)
        if outside is not None:
            pages.tell_apart(model, seed, outside, both)
        if progress is not None:
            progress(number + 1, len(seeds))
    columns = {"arm": "prediction", "seed": "seed", "metrics": _SCORES, "baseline": PLAIN}
    error = torch.stack([each.errors["mean"].mean() for each in found[AVERAGED]]).mean()
    averaging = Averaging(
        name,
        passes,
        len(found[PLAIN][0].mean),
        tuple(rows),
        judge(rows, **columns),
        {way: _ensemble(each, experiment) for way, each in found.items()},
        float(error),
    )
    return replace(averaging, **pages.drawn())


def _ensemble(predictions: list[Prediction], experiment: Experiment) -> dict[str, float]:
    """Return the scores of the mean of all models; {} where each saw other examples."""
    split = experiment.splits.validation
    if experiment.splits.of_seed is not None or not isinstance(split, Split):
        return {}
    mean = torch.stack([each.mean for each in predictions]).mean(0)
    scores = score(certain(mean, predictions[0].task), split.targets)
    return {name: scores[name] for name in _SCORES}


def _plain(model: nn.Module, split: Split, task: Any) -> Prediction:
    parts: list[Tensor] = []
    with evaluating(model), torch.no_grad():
        for inputs, _ in split.batches(torch.arange(len(split)), _BLOCK):
            parts.append(call(inner(model), inputs).double())
    logits = torch.cat(parts)
    if task == "binary":
        flat = logits.squeeze(1) if logits.dim() == 2 else logits
        return certain(torch.stack((torch.sigmoid(-flat), torch.sigmoid(flat)), dim=1), task)
    return certain(logits.softmax(1), task)


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
