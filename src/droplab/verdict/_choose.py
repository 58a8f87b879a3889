"""Which arm goes on to the test split."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from droplab.recipe import Recipe
from droplab.results import EpochRow, Member
from droplab.verdict._metrics import metric
from droplab.verdict._table import Table


def choose(rows: Iterable[EpochRow], recipe: Recipe, members: Iterable[Member] = ()) -> str | None:
    """Return the arm with dropout that has the best mean of the primary metric.

    Judged at the last epoch, over the seeds that are there. An arm with a replica that ended in
    NaN cannot be chosen.

    Args:
        rows: The rows of one run.
        recipe: The recipe that they follow.
        members: State of the replicas; a NaN in the rows is seen without it.

    Returns:
        The name of the arm; None if there is no arm with dropout to choose.

    Raises:
        ArgumentError: The rows are not of this recipe.
    """
    return best_arm(Table.of(recipe, rows, members), recipe.primary)


def best_arm(table: Table, primary: str) -> str | None:
    """Return the best sound arm with dropout."""
    found = metric(primary)
    values = table.judged(primary)
    lost = {arm for arm, _ in table.diverged}
    best: tuple[str, float] | None = None
    for name, row in zip(table.arms, values, strict=True):
        there = row[np.isfinite(row)]
        if name == table.recipe.baseline.name or name in lost or len(there) == 0:
            continue
        mean = float(there.mean())
        if best is None or found.better(mean, best[1]):
            best = (name, mean)
    return best[0] if best else None
