"""Splits of examples that are no table, drawn by class, by group or by time."""

from __future__ import annotations

import numpy as np
import torch

from droplab.data._draw import draw
from droplab.data.dataset import AnySplit, DataSet, Splits
from droplab.data.split import Split
from droplab.errors import DataError
from droplab.numeric import share
from droplab.recipe import DataSpec

_SHARE = 0.2
"""Of the training examples: what is validated on if nothing is said, as of a table."""


def draw_splits(dataset: DataSet, spec: DataSpec) -> Splits:
    """Return the splits of a data set whose training examples are drawn as a recipe says.

    A test split stays as it is.

    Args:
        dataset: What was loaded.
        spec: It has `stratify`, or the data set has units.

    Raises:
        DataError: If classes are not known, the data has a validation split of its own and none is
            asked for, or there are too few examples, groups or times.

    Example:
        >>> whole = Split(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> data = DataSet("six", whole, None, ("a", "b"), "here", "")
        >>> splits = draw_splits(data, DataSpec("six", validation=3, stratify=True))
        >>> splits.train.targets.tolist().count(1), splits.validation.targets.tolist().count(1)
        (1, 1)
    """
    whole, units, notes = dataset.train, dataset.units, list(dataset.notes)
    if dataset.validation is not None and spec.validation is None:
        raise DataError(
            f"data.validation: {dataset.name} has a validation split of its own, so none is drawn; "
            "give a number, or leave stratify, groups and time out"
        )
    strata = _classes(dataset.name, whole) if spec.stratify else None
    wanted = 0.0
    if spec.validation != "test":
        wanted = share(_SHARE if spec.validation is None else spec.validation, len(whole))
    rows = draw(
        len(whole),
        test=0,
        validation=int(wanted),
        strata=strata,
        groups=units.values if units is not None and units.kind == "groups" else None,
        time=units.values if units is not None and units.kind == "time" else None,
    )
    train = rows.train
    if spec.train is not None:
        if spec.train > len(train):
            raise DataError(
                f"data.train: {dataset.name} has {len(train)} training examples left, fewer than "
                f"the {spec.train} asked for"
            )
        train = train[: spec.train]
    how = "at random, each class in its share"
    if units is not None:
        groups = units.kind == "groups"
        how = f"at random, each {units.name} whole" if groups else f"by {units.name}, the latest"
        how += "" if groups else " to validate on"
    counts = f"{len(train)} examples to train on"
    chosen = whole.select(torch.from_numpy(train))
    if spec.validation == "test":
        if dataset.test is None:
            raise DataError(
                f"data.validation: {dataset.name} has no test split to validate on; give a number"
            )
        return Splits(chosen, dataset.test, None, "test", (*notes, f"{counts}, drawn {how}."))
    if dataset.validation is not None:
        notes.append(
            f"The data's own validation split ({len(dataset.validation)} examples) is not used: "
            "data.validation says how many are drawn."
        )
    notes.append(f"{counts} and {len(rows.validation)} to validate on, drawn {how}.")
    validation = whole.select(torch.from_numpy(rows.validation))
    own = None if units is None else units._replace(values=units.values[rows.validation])
    return Splits(chosen, validation, dataset.test, "train", tuple(notes), units=own)


def _classes(name: str, whole: AnySplit) -> np.ndarray:
    if not isinstance(whole, Split):
        raise DataError(
            f"data.stratify: expected examples in memory, whose classes are known, and {name} is "
            "streamed; leave it out, or divide the data where it is read"
        )
    if not whole.has_classes:
        raise DataError(
            f"data.stratify: expected classes, to give each split its share of them, got targets "
            f"of shape {tuple(whole.targets.shape)} ({whole.targets.dtype}); leave it out"
        )
    return whole.targets.numpy()
