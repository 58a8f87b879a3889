"""The task of a recipe, and whether a split of an experiment fits it."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.errors import DataError
from droplab.recipe import Recipe
from droplab.train.tasks._binary import Binary
from droplab.train.tasks._classification import Classification
from droplab.train.tasks._multilabel import Multilabel
from droplab.train.tasks._regression import Regression
from droplab.train.tasks._task import Task
from droplab.train.tasks._tokens import Tokens

KINDS: dict[str, type[Task]] = {
    kind.name: kind for kind in (Classification, Binary, Multilabel, Regression, Tokens)
}
"""The class of each task by its name in recipes."""

_WANTED = {
    "classification": (torch.int64, (1,), "class numbers, int64 (N,)"),
    "binary": (torch.int64, (1,), "0 and 1, int64 (N,)"),
    "multilabel": (torch.float32, (2,), "0 and 1, float32 (N, labels)"),
    "regression": (torch.float32, (1, 2), "numbers, float32 (N,) or (N, outputs)"),
    "tokens": (torch.int64, (2,), "token numbers, int64 (N, tokens)"),
}


def task_of(recipe: Recipe) -> Task:
    """Return what a recipe learns."""
    return KINDS[recipe.task or "classification"]()


def check_split(task: str, targets: Tensor, split: str) -> None:
    """Check that targets in memory fit a task, and can be measured as it measures.

    Args:
        task: Name of the task.
        targets: Of a whole split.
        split: "train", "validation" or "test".

    Raises:
        DataError: If not.
    """
    dtype, dimensions, wanted = _WANTED[task]
    if targets.dtype != dtype or targets.ndim not in dimensions:
        raise DataError(
            f"{split} targets: expected {wanted}, for task = '{task}', got {targets.dtype} of "
            f"shape {tuple(targets.shape)}"
        )
    if task == "regression" and not bool(targets.isfinite().all()):
        at = int((~targets.flatten(1 if targets.ndim > 1 else 0).isfinite()).nonzero()[0][0])
        raise DataError(
            f"{split} targets: expected finite numbers, got {targets[at].tolist()} at example "
            f"{at}; leave examples without a target out"
        )
    if task == "multilabel" and not bool(((targets == 0) | (targets == 1)).all()):
        raise DataError(f"{split} targets: expected {wanted}, for task = '{task}', got others")
    if split == "train":
        return
    if task == "binary" and len(targets.unique()) < 2:
        raise DataError(
            f"{split} targets: expected examples of both classes, without which the area under "
            f"the ROC curve cannot be measured, got only {targets[:1].tolist()}; shuffle the data "
            "once before it is split, or give another split"
        )
    if task == "regression":
        table = targets.reshape(len(targets), -1)
        same = (table == table[:1]).all(0)
        if bool(same.any()):
            column = int(same.nonzero()[0])
            where = f" in column {column}" if table.shape[1] > 1 else ""
            raise DataError(
                f"{split} targets: expected numbers that differ, without which R squared cannot be "
                f"measured, got {float(table[0, column]):g} in all {len(table)} examples{where}"
            )
