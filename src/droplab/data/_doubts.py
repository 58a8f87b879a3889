"""What is odd about the splits of an experiment: refused where it must be wrong, else noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from droplab.data._labels import outside
from droplab.data._memory import repeats
from droplab.data.dataset import AnySplit, Splits
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import leaves
from droplab.errors import DataError

_FEW = 16
"""Items of a streamed validation split that are asked for twice; each may be slow to read."""


_ERRORS = 6
"""Standard errors between two means that chance does not make: one case in 500 million."""

_UNEVEN = 0.6
"""The share of the commoner of two classes that is said; of more classes, twice their fair share.
"""


def doubts(splits: Splits, outputs: int, classes: Sequence[str] = ()) -> Splits:
    """Return the splits with a note on whatever about them is odd.

    Streamed splits learn from the model how many classes there can be, so that a label that it has
    no output for is refused when it is read.

    Args:
        splits: The splits of an experiment.
        outputs: How many logits the model gives an example.
        classes: Names of the classes, if they have some.

    Raises:
        DataError: If a label in memory is below 0, or the model has no output for it.

    Randomness: torch's default generator is left as it was.
    """
    notes = list(splits.notes)
    found: dict[str, AnySplit | None] = {}
    for name in ("train", "validation", "test"):
        split: AnySplit | None = getattr(splits, name)
        if isinstance(split, Split):
            if split.has_classes:
                _check_labels(split, outputs, name)
        elif split is not None and not split.classes and split.task == "classification":
            split = dataclasses.replace(split, classes=outputs)
        if name != "train" and isinstance(split, StreamedSplit):
            notes += _random_items(split, name)
        found[name] = split
    notes += _unseen(splits.train, splits.validation)
    notes += _imbalance(splits.validation, classes)
    notes += _shifted(splits.train, splits.validation)
    with torch.random.fork_rng(devices=[]):
        inputs, _ = next(splits.train.batches(torch.arange(1), 1))
    for shape in [tensor.shape for tensor in leaves(inputs) if channels_last(tensor.shape)]:
        notes.append(
            f"Images of shape {tuple(shape[1:])} are read as {shape[1]} channels of {shape[2]} x "
            f"{shape[3]}. If their last axis holds the channels, turn them: "
            "images.transpose(0, 3, 1, 2) in numpy."
        )
    return dataclasses.replace(splits, **found, notes=tuple(notes))


def channels_last(shape: torch.Size) -> bool:
    """Whether a batch of this shape looks like images of 1, 3 or 4 channels in the last axis.

    Example:
        >>> channels_last(torch.Size([8, 32, 32, 3])), channels_last(torch.Size([8, 3, 32, 32]))
        (True, False)
    """
    if len(shape) != 4 or shape[3] not in (1, 3, 4):
        return False
    return shape[1] not in (1, 3, 4) and min(shape[1:3]) > 4


def _unseen(train: AnySplit, validation: AnySplit) -> list[str]:
    """Say which classes are validated on and never trained on."""
    if not isinstance(train, Split) or not isinstance(validation, Split):
        return []
    if not train.has_classes or not validation.has_classes:
        return []
    classes = validation.targets.unique()
    unseen = classes[~torch.isin(classes, train.targets)]
    if not len(unseen):
        return []
    listed = ", ".join(map(str, unseen[:5].tolist())) + (" and more" if len(unseen) > 5 else "")
    count = int(torch.isin(validation.targets, unseen).sum())
    one = len(unseen) == 1
    return [
        f"Class{'' if one else 'es'} {listed} ({count} of {len(validation)} validation examples) "
        f"{'is' if one else 'are'} validated on and never trained on."
    ]


def _imbalance(validation: AnySplit, classes: Sequence[str]) -> list[str]:
    """Say how often the commonest class is right, where that is far above its fair share."""
    if not isinstance(validation, Split) or not validation.has_classes or len(classes) < 2:
        return []
    counts = validation.targets.bincount()
    commonest = int(counts.argmax())
    share = float(counts[commonest]) / len(validation)
    if share < (_UNEVEN if len(classes) == 2 else 2 / len(classes)):
        return []
    return [
        f"{100 * share:.1f} % of the validation examples are of class '{classes[commonest]}': to "
        "always answer that has this accuracy."
    ]


def _shifted(train: AnySplit, validation: AnySplit) -> list[str]:
    """Say that quantities differ between the splits by more than chance, as in sorted data."""
    both: list[torch.Tensor] = []
    for split in (train, validation):
        if not isinstance(split, Split) or split.targets.dtype != torch.float32:
            return []
        if split.targets.ndim != 1 or len(split) < 2:
            return []
        both.append(split.targets.double())
    (before, after), (n, m) = (each.mean() for each in both), map(len, both)
    spread = torch.cat([each - each.mean() for each in both]).square().mean().sqrt()
    if (before - after).abs() <= _ERRORS * spread * (1 / n + 1 / m) ** 0.5:
        return []
    return [
        f"The targets to train on have the mean {before:.4g} and those to validate on "
        f"{after:.4g}, further apart than chance would have it in mixed data. If the examples are "
        "sorted, shuffle them once before saving them."
    ]


def _check_labels(split: Split, outputs: int, name: str) -> None:
    wrong = (split.targets < 0) | (split.targets >= outputs)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise DataError(outside(int(split.targets[at]), f"{name} labels", at=at, classes=outputs))


def _random_items(split: StreamedSplit, name: str) -> list[str]:
    with torch.random.fork_rng(devices=[]):
        items = _Items(split)
        if repeats(items, len(split), probes=_FEW, task=split.task):
            return []
    return [
        f"The {name} items differ when they are asked for twice, as with an augmentation. Every "
        "score on them then has noise that differs from epoch to epoch and from arm to arm; give "
        f"a {name} set without it."
    ]


class _Items:
    """The items of a streamed split, by their place in it."""

    def __init__(self, split: StreamedSplit) -> None:
        self._split = split

    def __getitem__(self, index: int) -> object:
        return self._split.dataset[int(self._split.indices[index])]
