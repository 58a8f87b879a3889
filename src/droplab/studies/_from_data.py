"""What a recipe leaves open and its data tells: the task, and the sizes of a network for tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from droplab import data, models
from droplab.data import DataSet, Split, Splits
from droplab.errors import DataError
from droplab.recipe import TASKS, Recipe


def model_from_data(
    recipe: Recipe, progress: Callable[[str, int, int | None], None] | None = None
) -> tuple[Recipe, DataSet | None]:
    """Return the recipe with the sizes of its network, and its data if that had to be read for it.

    Raises:
        DataError: If the data cannot be had, an input of it is no row of numbers, or its task has
            no such network.
    """
    if recipe.model.path not in models.FROM_DATA:
        return recipe, None
    dataset = data.load(recipe.data, task=recipe.task, progress=progress)
    splits = data.carve(dataset, recipe.data)
    train = splits.train
    inputs = train.inputs if isinstance(train, Split) else ()
    width = inputs.shape[1] if isinstance(inputs, Tensor) and inputs.ndim == 2 else 0
    if not isinstance(train, Split) or not width or dataset.task == "tokens":
        raise DataError(
            f"model.path: '{recipe.model.path}' is a network for rows of numbers in memory, and "
            f"{dataset.name} has others"
        )
    outputs = train.targets.shape[1] if train.targets.ndim == 2 else 1
    if dataset.task == "classification":
        outputs = len(dataset.classes)
    columns = dataset.columns
    model = models.filled(
        recipe.model,
        numeric=width if columns is None else len(columns.numeric),
        categories=() if columns is None else tuple(columns.categories.values()),
        outputs=outputs,
        # with folds, each seed has training rows of its own: see `Experiment.of_seeds`
        targets=train.targets if dataset.task == "regression" and not splits.of_seed else None,
    )
    return dataclasses.replace(recipe, model=model), dataset


def guessed_note(task: str) -> str:
    """Say which task the targets told."""
    return (
        f"The targets are read as {task}, which decides loss and metrics, since no task was named. "
        f'Give task = "{task}", or another one, to settle it.'
    )


def with_task(recipe: Recipe, task: str, splits: Splits) -> tuple[Recipe, Splits]:
    """Return the recipe with the task that the data was read for, and a note if it was guessed.

    A recipe without one means classification already, so that it stays as it is.
    """
    if recipe.task is not None or task == "classification":
        return recipe, splits
    known = next(name for name in TASKS if name == task)
    changed = dataclasses.replace(recipe, task=known)  # pyright: ignore[reportArgumentType] # one of them
    return changed, dataclasses.replace(splits, notes=(*splits.notes, guessed_note(task)))
