"""What a run notes of its data and model, so that its verdict can be read without either."""

from __future__ import annotations

import math
from typing import Any

import torch

from droplab import placement
from droplab.data import Split, Splits
from droplab.studies._experiment import Experiment
from droplab.studies._rows import deciding_measure
from droplab.train import initial_model
from droplab.train.tasks import constant_scores


def class_counts(splits: Splits, classes: int) -> dict[str, list[int]]:
    """Return how many validation examples each class has; nothing where none or data is streamed.

    Streamed examples would all have to be read for it. With folds all examples are validated on.
    """
    if not isinstance(splits.validation, Split) or not splits.validation.has_classes:
        return {}
    targets = splits.validation.targets
    if splits.of_seed is not None:
        others = (splits.train, splits.stopping)
        targets = torch.cat([targets, *(x.targets for x in others if isinstance(x, Split))])
    return {"validation_counts": torch.bincount(targets, minlength=classes).tolist()}


def constant_answer(experiment: Experiment) -> dict[str, Any]:
    """Return what the best constant answer has on the validation examples; nothing if unknown.

    "values": metric to number; "examples": the metric that decides on each example, if it is a mean
    over them. With folds every seed has examples of its own, and streamed data would have to be
    read for it.
    """
    splits, measure = experiment.splits, deciding_measure(experiment.recipe)
    train, validation = splits.train, splits.validation
    if splits.of_seed is not None:
        return {}
    if not isinstance(train, Split) or not isinstance(validation, Split):
        return {}
    score, each = constant_scores(experiment.task, train.packed, validation.packed, measure)
    metrics = experiment.recipe.metrics
    values = {f"val_{name}": value for name, value in score.items() if math.isfinite(value)}
    found: dict[str, Any] = {"values": {n: v for n, v in values.items() if n in metrics}}
    if each is not None and torch.isfinite(each).all():
        found["examples"] = [float(f"{value:.6g}") for value in each.tolist()]
    return found


def own_dropout(experiment: Experiment) -> dict[str, float]:
    """Return what the model drops before anything is placed in it: place to p.

    Dropout that two training examples do not pass through is left out, and so is that of a
    recurrent network of one layer, which torch ignores.
    """
    own = experiment.own.dropout
    if own.order:
        return {name: p for name, p in own.rates.items() if p > 0}
    # no example could be run: what the model itself says of its rates is better than nothing
    model = initial_model(experiment.build, experiment.recipe.seeds[0])
    return {entry.name: entry.p for entry in placement.rates(model).entries if entry.p > 0}


def arms_as_placed(experiment: Experiment) -> dict[str, dict[str, dict[str, float]]]:
    """Return what arms mean that are written with patterns or change what drops already.

    By the arm's name: "rates", site to p, and "existing", the rates that it changes.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for arm in experiment.recipe.arms:
        rates = experiment.rates[arm.name]
        if not set(arm.rates) <= set(rates):
            found[arm.name] = {"rates": {site: p for site, p in rates.items() if p > 0}}
        if arm.existing:
            changed = dict(experiment.own.existing.get(arm.name, {}))
            found.setdefault(arm.name, {})["existing"] = changed
    return found
