"""A data set: its splits, its classes, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from droplab.data._blocks import Units, block_of_each, why_no_blocks
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import named

AnySplit = Split | StreamedSplit


@dataclass(frozen=True)
class Columns:
    """What the numbers of one input stand for, in a table.

    Args:
        numeric: Names of the columns of numbers, which come first.
        categories: How many names each column of names has, by its name; their places, from 1,
            come after the numbers, 0 for a name that is none of them.
    """

    numeric: tuple[str, ...]
    categories: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, eq=False)
class DataSet:
    """What `load` returns.

    Args:
        name: What reports call it.
        train: The training split, as the data have it.
        test: The test split, or None.
        classes: Names of the classes; empty if a streamed data set does not tell.
        source: One line: where it came from.
        checksum: SHA-256 over the data, "sha256:..."; empty for a streamed data set.
        validation: The data set's own validation split, or None.
        notes: What its user should know, a sentence each: what was not read, what looks odd.
        task: What its targets are read for.
        columns: What the numbers of an input stand for, of a table.
        drawn: The splits of an experiment, where they are drawn when the data is read, as those of
            a table are.
        units: What its training examples are drawn by, if the recipe names it.
    """

    name: str
    train: AnySplit
    test: AnySplit | None
    classes: tuple[str, ...]
    source: str
    checksum: str
    validation: AnySplit | None = None
    notes: tuple[str, ...] = ()
    task: str = "classification"
    columns: Columns | None = None
    drawn: Splits | None = None
    units: Units | None = None


@dataclass(frozen=True, eq=False)
class Splits:
    """What `carve` returns: the splits of one experiment.

    Args:
        train: Trained on.
        validation: Compared on, every epoch.
        test: Touched once at the end; None if validation is on the test split or there is none.
        validated_on: Where the validation examples come from: the "test" split, the
            "train" split (never trained on), or a split of their "own"; after a search, which
            never scored them, of the test split ("fresh test") or of the others ("fresh").
        notes: What the user should know about data and splits, a sentence each.
        of_seed: Where each seed has its own splits, returns those of a seed; those here are of one
            of them. None: all seeds have these.
        units: What belongs together among the validation examples, where they were drawn so.
        stopping: What early stopping chooses by, where that is a part of its own.
    """

    train: AnySplit
    validation: AnySplit
    test: AnySplit | None
    validated_on: Literal["test", "train", "own", "fresh test", "fresh"] = "own"
    notes: tuple[str, ...] = ()
    of_seed: Callable[[int], Splits] | None = None
    units: Units | None = None
    stopping: Split | None = None

    @property
    def why_no_blocks(self) -> str:
        """Why the validation examples are not in blocks, in a sentence; "" if they are.

        Where early stopping has a part of its own to choose by, they need none.
        """
        if self.stopping is not None:
            return ""
        return why_no_blocks(len(self.validation), self.units)

    @property
    def blocks(self) -> np.ndarray:
        """The block of each validation example, int64 (N,), from 0 to 7; see `block_of_each`.

        They follow from the data and from how it was drawn, never from a seed.
        """
        split = self.validation
        strata = split.targets.numpy() if isinstance(split, Split) and split.has_classes else None
        return block_of_each(len(split), strata=strata, units=self.units)


def content_checksum(*splits: Split | None, others: bytes = b"") -> str:
    """Return the SHA-256 over dtype, shape and bytes of the splits' tensors, and of other bytes."""
    digest = hashlib.sha256(others)
    for split in splits:
        parts = (*named(split.inputs), ("", split.targets), ("", split.weights)) if split else ()
        for at, tensor in parts:
            if tensor is None:
                continue
            digest.update(f"{at}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).numpy().data)
    return f"sha256:{digest.hexdigest()}"
