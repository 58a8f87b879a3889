"""Several runs of one recipe under different seeds, as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from droplab.errors import ArgumentError
from droplab.results import RunResult

_POOLED = "pooled runs"


def runs_in(result: RunResult) -> int:
    """Return how many runs a result is made of."""
    return int(result.notes.get(_POOLED, 1))


def spent_text(result: RunResult) -> str:
    """Say why runs taken together carry no verdict: more than were planned as looks; "" if not."""
    runs, looks = runs_in(result), result.recipe.looks
    if runs <= looks:
        return ""
    before = "the first verdict has" if looks == 1 else "the first two looks have"
    return f"with looks = {looks}, {before} spent the 5 %"


def pool(results: Sequence[RunResult]) -> RunResult:
    """Return the runs of one recipe that differ in nothing but their seeds as one run.

    Args:
        results: One or more runs; no seed may be in two of them.

    Returns:
        A run with all rows, whose recipe has all seeds; path, environment, notes and plan are
        those of the first. Its metrics are those that all runs have. If they are more than the
        `looks` of the recipe, `judge` shows them without a word: the 5 % are spent.

    Raises:
        ArgumentError: There is no run, their recipes differ, or they share a seed.
    """
    if not results:
        raise ArgumentError("pool: expected at least one run, got none")
    first, *rest = results
    for other in rest:
        if replace(other.recipe, seeds=first.recipe.seeds).digest != first.recipe.digest:
            raise ArgumentError(
                f"pool: {other.path} follows another recipe ('{other.recipe.name}') than "
                f"{first.path} ('{first.recipe.name}'); only their seeds may differ"
            )
    seeds = tuple(seed for result in results for seed in result.recipe.seeds)
    twice = [str(seed) for seed, count in Counter(seeds).items() if count > 1]
    if twice:
        raise ArgumentError(
            f"pool: seed {', '.join(twice)} is in more than one run; a seed counts once"
        )
    after_epochs, on_test = (
        {name: metric for name, metric in mine.items() if all(name in other for other in others)}
        for mine, *others in (
            [result.metrics for result in results],
            [result.test_metrics for result in results],
        )
    )
    blocks = [result.blocks for result in results]
    count = sum(map(runs_in, results))
    return replace(
        first,
        notes={**first.notes, **({_POOLED: str(count)} if count > 1 else {})},
        # a run without blocks says nothing of early stopping, and then neither do all together
        blocks=tuple(chain(*blocks)) if all(blocks) else (),
        examples=tuple(row for result in results for row in result.examples),
        answers=tuple(row for result in results for row in result.answers),
        stopped_tests=tuple(row for result in results for row in result.stopped_tests),
        metrics=after_epochs,
        test_metrics=on_test,
        recipe=replace(first.recipe, seeds=seeds),
        rows=tuple(row for result in results for row in result.rows),
        tests=tuple(row for result in results for row in result.tests),
        members=tuple(row for result in results for row in result.members),
        batches=tuple(row for result in results for row in result.batches),
    )
