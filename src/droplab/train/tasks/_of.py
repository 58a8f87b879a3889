"""The task of a recipe, and whether a split of an experiment fits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from droplab.errors import ArgumentError, nearest
from droplab.importing import import_object
from droplab.recipe import LOSSES, LossSpec, Recipe
from droplab.train.tasks._binary import Binary
from droplab.train.tasks._classification import Classification
from droplab.train.tasks._further import MetricFunction, further
from droplab.train.tasks._losses import CrossEntropy, Loss, absolute, bce, huber, own, pinball
from droplab.train.tasks._multilabel import Multilabel
from droplab.train.tasks._regression import Regression
from droplab.train.tasks._task import Task
from droplab.train.tasks._tokens import IGNORED, Tokens

KINDS: dict[str, type[Task]] = {
    kind.name: kind for kind in (Classification, Binary, Multilabel, Regression, Tokens)
}
"""The class of each task by its name in recipes."""


def task_of(
    recipe: Recipe,
    function: Callable[..., Tensor] | None = None,
    metrics: Mapping[str, MetricFunction] | None = None,
    weighted: tuple[int, ...] | None = None,
) -> Task:
    """Return what a recipe learns, with its loss.

    Args:
        recipe: Its class weights are numbers by now: see `resolve_loss`.
        function: The loss of one's own that the recipe names, where it is at hand.
        metrics: Functions of the metrics of one's own by name, where they are at hand.
        weighted: Shape of a target, of data in which each example has a weight.

    Raises:
        ArgumentError: If a loss or a metric is one's own and cannot be imported.
    """
    kind, spec = KINDS[recipe.task or "classification"], recipe.loss
    loss = None if spec is None else _loss(spec, kind.name, function)
    more = further(recipe.also_measure or (), kind.name, metrics)
    return kind(loss, {each.name: each for each in more}, weighted)


def _loss(spec: LossSpec, task: str, function: Callable[..., Tensor] | None) -> Loss | None:
    arguments = dict(spec.arguments)
    if spec.name not in LOSSES:
        found: Any = function or import_object(spec.name, where="loss.name")
        if not callable(found):
            raise ArgumentError(f"loss.name: expected a function, got {type(found).__name__}")
        mine = cast("Callable[..., Tensor]", partial(found, **arguments) if arguments else found)
        return own(mine, spec.name)
    if spec.name == "cross_entropy":
        weight = arguments.get("weight")
        ignored = arguments.get("ignore_index", IGNORED if task == "tokens" else None)
        smoothing = float(arguments.get("label_smoothing", 0.0))
        if weight is None and not smoothing and ignored == KINDS[task].usual.ignored:  # pyright: ignore[reportAttributeAccessIssue] # a CrossEntropy
            return None
        return CrossEntropy(
            smoothing,
            None if weight is None else torch.tensor(weight, dtype=torch.float32),
            ignored,
        )
    errors: dict[str, Callable[..., Tensor]] = {"huber": huber, "pinball": pinball, "l1": absolute}
    if spec.name in errors:
        return Loss(partial(errors[spec.name], **arguments))
    if "pos_weight" in arguments:
        weights = torch.tensor(arguments["pos_weight"], dtype=torch.float32).reshape(-1)
        return Loss(partial(bce, pos_weight=weights))
    return None  # the usual one of its tasks, without arguments


def resolve_loss(
    recipe: Recipe, classes: Sequence[str], outputs: int, targets: Tensor | None
) -> Recipe:
    """Return the recipe with class weights as numbers, one for each class or label.

    Args:
        recipe: The recipe.
        classes: Names of the classes; empty: "0", "1" and so on.
        outputs: How many logits the model gives.
        targets: Of the training examples, to balance by; None where they are streamed.

    Raises:
        ArgumentError: If there is no such class, another number of weights, or nothing to
            balance by.
    """
    spec = recipe.loss
    if spec is not None and "pos_weight" in spec.arguments and spec.name in LOSSES:
        return _with_pos_weight(recipe, spec, outputs, targets)
    weight = None if spec is None else spec.arguments.get("weight")
    if spec is None or weight is None or spec.name not in LOSSES:
        return recipe
    names = [*classes, *map(str, range(len(classes), outputs))]
    if weight == "balanced":
        ignored = spec.arguments.get("ignore_index", IGNORED)
        numbers = _balanced(targets, names, ignored)
    elif isinstance(weight, Mapping):
        given = {str(key): float(value) for key, value in weight.items()}
        for key in given:
            if key not in names:
                raise ArgumentError(
                    f"loss.weight.{key}: no class of this name in the data{nearest(key, names)}"
                )
        numbers = tuple(given.get(name, 1.0) for name in names)
    else:
        numbers = tuple(float(value) for value in weight)
        if len(numbers) != outputs:
            raise ArgumentError(
                f"loss.weight: expected a weight for each of the {outputs} classes that the model "
                f"has logits for, got {len(numbers)}"
            )
    arguments = {**spec.arguments, "weight": numbers}
    return dataclasses.replace(recipe, loss=LossSpec(spec.name, arguments))


def is_balanced(recipe: Recipe) -> bool:
    """Say whether a recipe has class weights by the counts of its training examples."""
    spec = recipe.loss
    return (
        spec is not None
        and spec.name in LOSSES
        and "balanced" in (spec.arguments.get("weight"), spec.arguments.get("pos_weight"))
    )


def _with_pos_weight(
    recipe: Recipe, spec: LossSpec, outputs: int, targets: Tensor | None
) -> Recipe:
    """Return the recipe with numbers for what positive targets count."""
    given = spec.arguments["pos_weight"]
    labels = outputs if recipe.task == "multilabel" else 1
    if isinstance(given, tuple) and len(given) != labels:
        raise ArgumentError(
            f"loss.pos_weight: expected a weight for each of the {labels} outputs of the model, "
            f"got {len(given)}"
        )
    if given != "balanced":
        return recipe
    if targets is None:
        raise ArgumentError(
            "loss.pos_weight: expected training examples in memory, to balance 1 and 0 by their "
            "counts, got streamed ones; give the weights as numbers"
        )
    ones = (targets > 0.5).double().reshape(len(targets), -1).mean(0)
    if bool((ones == 0).any()) or bool((ones == 1).any()):
        at = int(((ones == 0) | (ones == 1)).nonzero()[0])
        raise ArgumentError(
            f"loss.pos_weight: expected training examples with 1 and with 0, to balance them by "
            f"their counts, got only {int(ones[at])} at label {at}; give the weights as numbers"
        )
    weights = tuple(((1 - ones) / ones).tolist())
    return dataclasses.replace(recipe, loss=LossSpec(spec.name, {"pos_weight": weights}))


def _balanced(targets: Tensor | None, names: Sequence[str], ignored: int) -> tuple[float, ...]:
    """Weights of N / (classes x count), as scikit-learn has them."""
    if targets is None:
        raise ArgumentError(
            "loss.weight: expected training examples in memory, to balance the classes by their "
            "counts, got streamed ones; give the weights as a list"
        )
    kept = targets[targets != ignored]
    counts = torch.bincount(kept.flatten(), minlength=len(names))
    missing = [name for name, count in zip(names, counts.tolist(), strict=False) if count == 0]
    if missing:
        raise ArgumentError(
            f"loss.weight: expected training examples of every class, to balance them by their "
            f"counts, got none of '{missing[0]}'; give the weights as a list"
        )
    return tuple((len(kept) / (len(names) * counts.double())).tolist())


def check_split(task: str, targets: Tensor, split: str) -> None:
    """Check that targets in memory fit a task, and can be measured as it measures.

    Args:
        task: Name of the task.
        targets: Of a whole split.
        split: "train", "validation" or "test".

    Raises:
        DataError: If not.
    """
    KINDS[task].check_form(targets, split)
    if split != "train":
        KINDS[task].check_scored(targets, split)
