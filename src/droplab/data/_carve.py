"""Cutting the splits of an experiment out of a data set."""

from __future__ import annotations

import math

import torch

from droplab.data._drawn import draw_splits
from droplab.data._folds import folds_of, resampled_of
from droplab.data.dataset import AnySplit, DataSet, Splits
from droplab.data.split import Split
from droplab.errors import DataError
from droplab.numeric import share
from droplab.recipe import DataSpec

_UNLIKELY = 1e-3
"""A class that mixed data would leave out with a smaller probability is left out by the order."""


def carve(dataset: DataSet, spec: DataSpec) -> Splits:
    """Return the splits to train, validate and test on.

    Training examples are the first `spec.train` (all that are left if None). Validation examples
    are the `spec.validation` ones that follow them (the last ones, if `spec.train` is None), or
    the test split if `spec.validation` is "test"; then nothing is left for a test. If
    `spec.validation` is None, they are the data set's own validation split where it has one, else
    the test split. With `spec.folds` or `spec.resample`, the splits are those of seed 0, and
    `Splits.of_seed` has those of every seed. A table has its splits drawn already; other examples
    are drawn where the recipe says how, a fifth of them to validate on unless it says how many.

    Args:
        dataset: What `load` returned.
        spec: How to cut it.

    Raises:
        DataError: If there are too few examples, no test split where it is asked for, folds of
            streamed data, or if the labels stand in such an order that a class would be missing
            from a part.

    Example:
        >>> from droplab.data import load
        >>> splits = carve(load("digits"), DataSpec("digits", train=200, validation=600))
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (200, 600, 500)
    """
    if dataset.drawn is not None:
        return dataset.drawn
    whole, notes = dataset.train, list(dataset.notes)
    if spec.of_seed:
        return _of_seeds(dataset, spec)
    if spec.draws:
        return draw_splits(dataset, spec)
    if spec.validation is None or spec.validation == "test":
        own = dataset.validation if spec.validation is None else None
        validation = own if own is not None else dataset.test
        if validation is None:
            raise DataError(
                f"data.validation: {dataset.name} has no test split to validate on; give a number, "
                "to set aside that many of its training examples"
            )
        train = whole.subset(0, _first(dataset, spec.train, of=len(whole)))
        _check_order(whole, train)
        if dataset.validation is not None and own is None:
            notes.append(_unused(dataset.validation, 'data.validation = "test"'))
        if own is not None:
            return Splits(train, own, dataset.test, "own", tuple(notes))
        return Splits(train, validation, None, "test", tuple(notes))
    count = _set_aside(dataset, spec, of=len(whole))
    end = len(whole) - count if spec.train is None else spec.train
    train, validation = whole.subset(0, end), whole.subset(end, end + count)
    _check_order(whole, train, validation)
    if dataset.validation is not None:
        notes.append(_unused(dataset.validation, f"data.validation = {count}"))
    return Splits(train, validation, dataset.test, "train", tuple(notes))


def _of_seeds(dataset: DataSet, spec: DataSpec) -> Splits:
    """Return the splits of seed 0, where each seed has its own: folds, or drawn anew."""
    whole, notes = dataset.train, list(dataset.notes)
    if not isinstance(whole, Split):
        key, hint = ("folds", "give data.validation in place of folds")
        if spec.folds is None:
            key, hint = ("resample", "leave it out")
        raise DataError(
            f"data.{key}: expected examples in memory, to divide them anew, and {dataset.name} is "
            f"streamed; {hint}"
        )
    if dataset.validation is not None:
        why = f"data.folds = {spec.folds}" if spec.folds is not None else "data.resample = true"
        notes.append(_unused(dataset.validation, why))
    if spec.folds is None:
        count = _set_aside(dataset, spec, of=len(whole))
        return resampled_of(whole, spec.train, count, dataset.test, notes, dataset.units)(0)
    whole = whole.subset(0, _first(dataset, spec.train, of=len(whole)))
    held = bool(spec.stop_on_fold)
    return folds_of(whole, spec.folds, dataset.test, notes, dataset.units, held=held)(0)


def _set_aside(dataset: DataSet, spec: DataSpec, *, of: int) -> int:
    """Return how many of so many training examples are validated on, if enough are left."""
    assert isinstance(spec.validation, (int, float))
    count = share(spec.validation, of)
    if count >= of:
        raise DataError(
            f"data.validation: {dataset.name} has {of} training examples, so {count} for "
            f"validation leave none to train on; use {max(1, of // 6)} for example"
        )
    if spec.train is not None and spec.train + count > of:
        raise DataError(
            f"data.train: {dataset.name} has {of} training examples, fewer than {spec.train} to "
            f"train on and {count} to validate on together"
        )
    return count


def _first(dataset: DataSet, train: int | None, *, of: int) -> int:
    if train is not None and train > of:
        raise DataError(
            f"data.train: {dataset.name} has {of} training examples, fewer than the {train} asked "
            "for"
        )
    return of if train is None else train


def _check_order(whole: AnySplit, *parts: AnySplit) -> None:
    """Check that no class is missing from a part because of the order of the examples.

    A class may be missing from a small part by chance, and that is the user's business. In data
    that is sorted, ascending or not, or stands class by class, it is missing by mistake.
    """
    if not isinstance(whole, Split) or not whole.has_classes:
        return
    classes, counts = whole.targets.unique(return_counts=True)
    in_blocks = int((whole.targets.diff() != 0).sum()) + 1 == len(classes)
    by_chance = math.exp(
        math.lgamma(len(classes) + 1)
        + sum(math.lgamma(n + 1) for n in counts.tolist())
        - math.lgamma(len(whole) + 1)
    )
    for part, verb in zip(parts, ("trained on", "validated on"), strict=False):
        if not isinstance(part, Split):
            continue
        there = torch.isin(classes, part.targets)
        absent, n = classes[~there].tolist(), int(counts[~there].sum())
        # any of the classes might have been the absent ones
        chance = _log_choices(len(classes), len(absent))
        chance += _log_choices(len(whole) - n, len(part)) - _log_choices(len(whole), len(part))
        unlikely = chance < math.log(_UNLIKELY)
        # a small part to validate on lacks classes in mixed data, too
        ordered = in_blocks and (verb == "trained on" or by_chance < _UNLIKELY)
        if absent and (ordered or unlikely):
            other = "trained on" if verb == "validated on" else "validated on"
            raise DataError(
                f"data: the labels are sorted or stand in blocks, so class {absent[0]} "
                f"({int(counts[classes == absent[0]])} examples) would be {other} or left out, but "
                f"never {verb}; shuffle the data once before saving it"
            )


def _log_choices(n: int, k: int) -> float:
    """The logarithm of the number of ways to choose `k` of `n`."""
    if k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _unused(validation: AnySplit, why: str) -> str:
    return f"The data's own validation split ({len(validation)} examples) is not used: {why}."
