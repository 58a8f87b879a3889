"""Which arm goes on to the test split."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from droplab.recipe import Recipe
from droplab.results import EpochRow, Member
from droplab.verdict._best import seeded
from droplab.verdict._method import method_of
from droplab.verdict._table import Table


def choose(rows: Iterable[EpochRow], recipe: Recipe, members: Iterable[Member] = ()) -> str | None:
    """Return the arm with dropout that has the best mean of the primary metric.

    Judged at the last epoch, over the seeds that are there. An arm with a replica whose numbers
    are not finite cannot be chosen; one with too few seeds for a verdict only if all have too few.

    Args:
        rows: The rows of one run.
        recipe: The recipe that they follow.
        members: State of the replicas; what is not finite in the rows is seen without it.

    Returns:
        The name of the arm; None if there is no arm with dropout to choose.

    Raises:
        ArgumentError: The rows are not of this recipe.
    """
    return best_arm(Table.of(recipe, rows, members), recipe.primary)


def best_arm(table: Table, primary: str) -> str | None:
    """Return the best sound arm with dropout."""
    found = table.metrics.named(primary)
    values = table.judged(primary)
    unsound = {table.recipe.baseline.name, *(arm for arm, _ in table.diverged)}
    counts: list[int] = np.isfinite(values).sum(axis=1).tolist()
    sound = [(i, n) for i, n in enumerate(counts) if n and table.arms[i] not in unsound]
    best: tuple[str, float] | None = None
    for i in seeded(sound, method_of(table.recipe.data)):
        row = values[i]
        mean = float(row[np.isfinite(row)].mean())
        if best is None or found.better(mean, best[1]):
            best = (table.arms[i], mean)
    return best[0] if best else None
