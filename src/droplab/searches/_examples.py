"""Which examples a search scores, and which are kept for the verdict on what it found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from droplab.data import Split, Splits
from droplab.errors import ArgumentError, DataError, quote
from droplab.recipe import BLOCKS

From = Literal["test", "validation"]


@dataclass(frozen=True)
class Divided:
    """The examples of a search.

    Attributes:
        searched: Splits whose validation examples every proposal is scored on; no test split.
        fresh: Splits whose validation examples no proposal is scored on.
        source: Where the latter are from.
    """

    searched: Splits
    fresh: Splits
    source: From

    @property
    def about(self) -> Mapping[str, Any]:
        """What the record of a search says of its examples."""
        return {
            "searched": len(self.searched.validation),
            "fresh": len(self.fresh.validation),
            "fresh_from": self.source,
        }


def divide(splits: Splits, source: str | None) -> Divided:
    """Return the examples to search on, and those to judge on, before the first proposal.

    Args:
        splits: The splits of the recipe.
        source: "test", its test split; "validation", half of its validation examples, set aside
            (four of their eight blocks, which keep classes in their shares and groups together);
            None: the test split where there is one.

    Raises:
        ArgumentError: If `source` is neither, or each seed has examples of its own.
        DataError: If there is no test split, or too few examples to divide.
    """
    if splits.of_seed is not None:
        raise ArgumentError(
            "search: expected the same validation examples for every seed, got folds, or examples "
            "that are drawn anew with each seed, which leave none that the search never scored; "
            "give data.validation a number"
        )
    if source is None:
        source = "validation" if splits.test is None else "test"
    if source not in ("test", "validation"):
        raise ArgumentError(f"fresh: expected 'test' or 'validation', got {quote(source)}")
    if source == "test":
        if splits.test is None:
            raise DataError(
                "fresh: expected a test split to judge the winner on, and there is none; take "
                "'validation', which sets half of the validation examples aside"
            )
        fresh = dataclasses.replace(
            splits, validation=splits.test, test=None, validated_on="fresh test", units=None
        )
        return Divided(dataclasses.replace(splits, test=None), fresh, "test")
    return _halves(splits)


def _halves(splits: Splits) -> Divided:
    whole = splits.validation
    if not isinstance(whole, Split):
        raise DataError(
            "fresh: expected validation examples in memory, to set half of them aside, got "
            "streamed ones; take 'test', a test split"
        )
    if splits.why_no_blocks:
        raise DataError(
            f"fresh: expected enough validation examples to set half of them aside, got "
            f"{len(whole)}: {splits.why_no_blocks} Take more, or 'test', a test split"
        )
    block = splits.blocks
    parts: list[Splits] = []
    for at, chosen in enumerate((block < BLOCKS // 2, block >= BLOCKS // 2)):
        numbers = torch.from_numpy(chosen.nonzero()[0])
        units = splits.units
        if units is not None:
            units = units._replace(values=units.values[chosen])
        said = (
            f"Validated here on {len(numbers)} of {len(whole)} validation examples: those that the "
            + ("search scored." if at == 0 else "search never scored.")
        )
        where = "own" if splits.validated_on == "test" else splits.validated_on
        where = "fresh" if at else where
        parts.append(
            dataclasses.replace(
                splits,
                validation=whole.select(numbers),
                test=None,
                validated_on=where,
                units=units,
                notes=(*splits.notes, said),
            )
        )
    return Divided(parts[0], parts[1], "validation")
