"""Whether every seed of a cross-validation has examples that it can be trained and judged on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from droplab.data import Split, Splits
from droplab.errors import DataError, RecipeError
from droplab.recipe import Recipe
from droplab.train import Scheduler, Task, check_training
from droplab.train.tasks import check_split

_LISTED = 5
"""Classes that a note names."""


def check_folds(
    recipe: Recipe,
    splits: Splits,
    classes: Sequence[str],
    model: nn.Module,
    task: Task,
    scheduler: Scheduler | None,
) -> tuple[str, ...]:
    """Check the examples of every seed, where each has its own; return what is to be noted.

    Args:
        recipe: The recipe.
        splits: Those of one seed, which know those of the others.
        classes: Names of the classes.
        model: A model that is thrown away afterwards.
        task: What is learned.
        scheduler: What changes the learning rate, if anything.

    Raises:
        DataError: If a fold cannot be measured, has a single class, or all examples of a class.
        RecipeError: If a batch is larger than the training examples of a seed.
        ArgumentError: If the model does not take the batches that some seed will have, or a
            scheduler does not fit its steps.
    """
    folds, of_seed = recipe.data.folds, splits.of_seed
    if folds is None or of_seed is None:
        return ()
    names, sizes = [f"'{name}'" for name in classes], set[int]()
    lacking: dict[int, int] = {}
    for seed in recipe.seeds:
        own = of_seed(seed)
        train, validation = own.train, own.validation
        assert isinstance(train, Split)  # folds are made of nothing else
        assert isinstance(validation, Split)
        where = f"data.folds: fold {seed % folds} of repeat {seed // folds} (seed {seed})"
        try:
            check_split(task.name, validation.targets, "validation")
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if train.has_classes:
            _check_classes(where, train.targets, validation.targets, names)
            for label in _missing(validation.targets, train.targets):
                lacking[label] = lacking.get(label, 0) + 1
        if recipe.batch_size > len(train):
            raise RecipeError(
                f"batch_size: expected at most the {len(train)} training examples of seed {seed}, "
                f"got {recipe.batch_size}"
            )
        if len(train) not in sizes:
            sizes.add(len(train))
            check_training(model, train, recipe.batch_size, classes=len(classes), task=task)
            if scheduler is not None:
                scheduler.over(recipe.epochs, -(-len(train) // recipe.batch_size))
    if not lacking:
        return ()
    listed = ", ".join(_name(names, label) for label in sorted(lacking)[:_LISTED])
    more = f" and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
    one = len(lacking) == 1
    return (
        f"Class{'' if one else 'es'} {listed}{more} {'is' if one else 'are'} not in every fold: "
        f"up to {max(lacking.values())} of {len(recipe.seeds)} seeds validate on no example of "
        f"{'it' if one else 'such a class'}.",
    )


def _check_classes(where: str, train: Tensor, validation: Tensor, names: Sequence[str]) -> None:
    unlearnt = _missing(train, validation)
    if unlearnt:
        count = int((validation == unlearnt[0]).sum())
        held = "the only example" if count == 1 else f"all {count} examples"
        raise DataError(
            f"{where}: has {held} of class {_name(names, unlearnt[0])}, which is validated on and "
            "never trained on; give fewer folds, or leave the class out"
        )
    if len(validation.unique()) < 2:
        raise DataError(
            f"{where}: has {len(validation)} of class {_name(names, int(validation[0]))} and of no "
            "other class, so that a constant answer would be right; give fewer folds"
        )


def _missing(here: Tensor, there: Tensor) -> list[int]:
    """Return the classes that are there and not here."""
    classes = there.unique()
    return classes[~torch.isin(classes, here)].tolist()


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
