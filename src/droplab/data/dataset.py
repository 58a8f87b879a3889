"""A data set: its splits, its classes, and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from droplab.data._tree import named
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit

AnySplit = Split | StreamedSplit


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


@dataclass(frozen=True, eq=False)
class Splits:
    """What `carve` returns: the splits of one experiment.

    Args:
        train: Trained on.
        validation: Compared on, every epoch.
        test: Touched once at the end; None if validation is on the test split or there is none.
        validated_on: Where the validation examples come from: the "test" split, the
            "train" split (never trained on), or a split of their "own".
        notes: What the user should know about data and splits, a sentence each.
    """

    train: AnySplit
    validation: AnySplit
    test: AnySplit | None
    validated_on: Literal["test", "train", "own"] = "own"
    notes: tuple[str, ...] = ()


def content_checksum(*splits: Split | None) -> str:
    """Return the SHA-256 over dtype, shape and bytes of the splits' tensors."""
    digest = hashlib.sha256()
    for split in splits:
        for at, tensor in (*named(split.inputs), ("", split.targets)) if split else ():
            digest.update(f"{at}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).numpy().data)
    return f"sha256:{digest.hexdigest()}"
