"""Whether every seed that has its own splits can be trained and judged on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from droplab.data import Split, Splits
from droplab.errors import ArgumentError, DataError, RecipeError
from droplab.recipe import Recipe
from droplab.train import Scheduler
from droplab.train.model_check import check_training
from droplab.train.tasks import Task, check_split, is_balanced, resolve_loss

_LISTED = 5
"""Classes that a note names."""


def check_folds(
    recipe: Recipe,
    splits: Splits,
    classes: Sequence[str],
    model: nn.Module,
    task: Task,
    scheduler: Scheduler | None,
    outputs: int,
) -> tuple[tuple[str, ...], str]:
    """Check the examples of every seed, where each has its own.

    Args:
        recipe: The recipe.
        splits: Those of one seed, which know those of the others.
        classes: Names of the classes.
        model: A model that is thrown away afterwards.
        task: What is learned.
        scheduler: What changes the learning rate, if anything.
        outputs: How many numbers the model returns for an example.

    Returns:
        What is to be noted, and why there are no blocks of validation examples; "" if all seeds
        have them.

    Raises:
        DataError: If a fold cannot be measured, has a single class, or all examples of a class.
        RecipeError: If a batch is larger than the training examples of a seed.
        ArgumentError: If the model does not take the batches that some seed will have, or a
            scheduler does not fit its steps.
    """
    folds, of_seed = recipe.data.folds, splits.of_seed
    if of_seed is None:
        return (), splits.why_no_blocks
    names, sizes = [f"'{name}'" for name in classes], set[int]()
    why = ""
    lacking: dict[int, int] = {}
    for seed in recipe.seeds:
        own = of_seed(seed)
        train, validation = own.train, own.validation
        assert isinstance(train, Split)  # folds are made of nothing else
        assert isinstance(validation, Split)
        why = why or own.why_no_blocks
        where = f"data.resample: seed {seed}"
        if folds is not None:
            where = f"data.folds: fold {seed % folds} of repeat {seed // folds} (seed {seed})"
        try:
            check_split(task.name, validation.targets, "validation")
            if own.stopping is not None:
                check_split(task.name, own.stopping.targets, "stopping")
            if is_balanced(recipe):
                resolve_loss(recipe, classes, outputs, train.targets)
        except (ArgumentError, DataError) as error:
            raise type(error)(f"{where}: {error}") from None
        if train.has_classes:
            fewer = "fewer folds" if folds is not None else "a smaller data.validation"
            _check_classes(where, train.targets, validation.targets, names, fewer)
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
                scheduler.over(recipe.epochs, -(-len(train) // min(recipe.step_size, len(train))))
    if not lacking:
        return (), why
    listed = ", ".join(_name(names, label) for label in sorted(lacking)[:_LISTED])
    more = f" and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
    one = len(lacking) == 1
    where = "fold" if folds is not None else "seed's validation examples"
    note = (
        f"Class{'' if one else 'es'} {listed}{more} {'is' if one else 'are'} not in every "
        f"{where}: "
        f"up to {max(lacking.values())} of {len(recipe.seeds)} seeds validate on no example of "
        f"{'it' if one else 'such a class'}."
    )
    return (note,), why


def _check_classes(
    where: str, train: Tensor, validation: Tensor, names: Sequence[str], fewer: str
) -> None:
    unlearnt = _missing(train, validation)
    if unlearnt:
        count = int((validation == unlearnt[0]).sum())
        held = "the only example" if count == 1 else f"all {count} examples"
        raise DataError(
            f"{where}: has {held} of class {_name(names, unlearnt[0])}, which is validated on and "
            f"never trained on; give {fewer}, or leave the class out"
        )
    if len(validation.unique()) < 2:
        raise DataError(
            f"{where}: has {len(validation)} of class {_name(names, int(validation[0]))} and of no "
            f"other class, so that a constant answer would be right; give {fewer}"
        )


def _missing(here: Tensor, there: Tensor) -> list[int]:
    """Return the classes that are there and not here."""
    classes = there.unique()
    return classes[~torch.isin(classes, here)].tolist()


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
