"""Cutting the splits of an experiment out of a data set."""

from __future__ import annotations

from droplab.data.dataset import AnySplit, DataSet, Splits
from droplab.data.split import Split
from droplab.errors import DataError
from droplab.recipe import DataSpec


def carve(dataset: DataSet, spec: DataSpec) -> Splits:
    """Return the splits to train, validate and test on.

    Training examples are the first `spec.train` (all that are left if None). Validation examples
    are the `spec.validation` ones that follow them (the last ones, if `spec.train` is None), or
    the official test split if `spec.validation` is "test"; then nothing is left for a test.

    Args:
        dataset: What `load` returned.
        spec: How to cut it.

    Raises:
        DataError: If there are too few examples, no test split where it is asked for, or if the
            labels are sorted so that some classes would be missing from training.

    Example:
        >>> from droplab.data import load
        >>> splits = carve(load("digits"), DataSpec("digits", train=200, validation=600))
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (200, 600, 500)
    """
    whole = dataset.train
    if spec.validation == "test":
        if dataset.test is None:
            raise DataError(
                f"data.validation: {dataset.name} has no test split to validate on; give a number, "
                "to set aside that many of its training examples"
            )
        train = _first(dataset, spec.train, of=len(whole))
        return Splits(_checked(whole, train, dataset.test), dataset.test, None)
    count = spec.validation
    if count >= len(whole):
        raise DataError(
            f"data.validation: {dataset.name} has {len(whole)} training examples, so {count} for "
            f"validation leave none to train on; use {max(1, len(whole) // 6)} for example"
        )
    if spec.train is not None and spec.train + count > len(whole):
        raise DataError(
            f"data.train: {dataset.name} has {len(whole)} training examples, fewer than "
            f"{spec.train} to train on and {count} to validate on together"
        )
    train = len(whole) - count if spec.train is None else spec.train
    validation = whole.subset(train, train + count)
    return Splits(_checked(whole, train, validation), validation, dataset.test)


def _first(dataset: DataSet, train: int | None, *, of: int) -> int:
    if train is not None and train > of:
        raise DataError(
            f"data.train: {dataset.name} has {of} training examples, fewer than the {train} asked "
            "for"
        )
    return of if train is None else train


def _checked(whole: AnySplit, train: int, validation: AnySplit) -> AnySplit:
    """Return the training part, unless sorted labels keep whole classes out of it.

    A class may be missing from a small training part by chance, and that is the user's business.
    In sorted data it is missing by mistake.
    """
    part = whole.subset(0, train)
    if isinstance(whole, Split) and isinstance(part, Split) and isinstance(validation, Split):
        missing = set(validation.targets.unique().tolist()) - set(part.targets.unique().tolist())
        if missing and bool((whole.targets.diff() >= 0).all()):
            raise DataError(
                f"data: the labels are sorted, so class {min(missing)} would be validated on but "
                "never trained on; shuffle the data once before saving it"
            )
    return part
