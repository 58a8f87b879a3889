"""Everything that is asked about the metric that decides, judged as one family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from droplab.results import RunResult
from droplab.verdict._examples import ExamplesError, of_blocks, of_examples, per_example
from droplab.verdict._margin import Margin
from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._paired import less, paired
from droplab.verdict._stopped import Stopped
from droplab.verdict._table import Table
from droplab.verdict._trend import SHAPES, contrasts, one_rate
from droplab.verdict._types import Difference, Question, Trend

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One question, and what the rows answer.

    Attributes:
        question: Which.
        values: The metric that decides, shape (arms, seeds); NaN where a replica is not compared.
        examples: The examples' error of each arm but the baseline, as far as it is known.
        differences: Each arm's difference to the baseline.
        excluded: The arms for which an improvement by the margin or more is excluded.
    """

    question: Question
    values: Floats
    examples: Mapping[str, ExamplesError | None]
    differences: Mapping[str, Difference]
    excluded: frozenset[str]


def judge_family(
    result: RunResult,
    table: Table,
    metric: WrittenMetric,
    by: Method,
    margin: Margin,
    stopped: Stopped | None,
    questions: Sequence[Question],
) -> tuple[tuple[Asked, ...], tuple[Trend, ...]]:
    """Compare every arm, to every question, and the trends along a rate, all at once.

    The same signs are flipped for all of them, and the maximum is over all, so that the chance of
    any false word is that of one test.
    """
    baseline = table.arms.index(table.recipe.baseline.name)
    values: dict[Question, Floats] = {}
    if "budget" in questions:
        values["budget"] = table.compared(metric.name)
    if "stopped" in questions and stopped is not None:
        values["stopped"] = stopped.values
    order = one_rate(table.recipe)
    rows = [less(each, baseline) for each in values.values()]
    rows += [contrasts(each, order) for each in values.values() if order]
    found = list(by.compare(np.concatenate(rows)))
    asked: list[Asked] = []
    for question, each in values.items():
        comparisons = [found.pop(0) for _ in range(len(table.arms) - 1)]
        examples = _examples(question, result, table, metric, stopped, by)
        differences = {
            name: _widened(difference, examples[name], by.level)
            for name, difference in paired(
                table.arms, each, baseline, metric, by, comparisons
            ).items()
        }
        excluded = frozenset(
            name
            for row, name in zip(less(each, baseline), differences, strict=True)
            if margin.excluded(row, each[baseline], by, examples[name])
        )
        asked.append(Asked(question, each, examples, differences, excluded))
    trends: list[Trend] = []
    for each in asked if order else ():
        for shape in SHAPES:
            comparison = found.pop(0)
            if by.enough(comparison.n):
                trends.append(Trend(each.question, shape, comparison.mean, comparison.p))
    return tuple(asked), tuple(trends)


def _examples(
    question: Question,
    result: RunResult,
    table: Table,
    metric: WrittenMetric,
    stopped: Stopped | None,
    by: Method,
) -> dict[str, ExamplesError | None]:
    """Return the examples' error of every arm: from each example, or else from their blocks.

    Where pairs are of other examples each, the test is about them already.
    """
    name = table.recipe.baseline.name
    baseline = table.arms.index(name)
    known = per_example(result, metric.name) if question == "budget" else {}
    blocks = None
    if stopped is not None:
        blocks = stopped.last_blocks if question == "budget" else stopped.blocks
    done = table.done()
    found: dict[str, ExamplesError | None] = {}
    for i, arm in enumerate(table.arms):
        if i == baseline:
            continue
        seeds = [s for j, s in enumerate(table.seeds) if done[i, j] and done[baseline, j]]
        error = of_examples(known, arm, name, seeds) if table.at_end else None
        if error is None and blocks is not None and stopped is not None:
            error = of_blocks(blocks, stopped.weights, i, baseline)
        found[arm] = None if by.rows_vary else error
    return found


def _widened(found: Difference, error: ExamplesError | None, level: float) -> Difference:
    if error is None or not found.n:
        return found
    low, high = error.widened(found.mean, found.low, found.high, level)
    return replace(found, wide_low=low, wide_high=high)


def gain_of_stopping(
    table: Table, stopped: Stopped, metric: WrittenMetric, by: Method
) -> Difference | None:
    """Return what stopping early does to the baseline; its p is not looked at, it is no question.

    Both ends are of the same blocks, so that an example counts alike in both.
    """
    name = table.recipe.baseline.name
    i = table.arms.index(name)
    weights = stopped.weights[i]
    last = (stopped.last_blocks[i] * weights).sum(axis=1) / weights.sum(axis=1)
    values = np.stack([last, stopped.values[i]])
    found = paired(("last", name), values, 0, metric, by)[name]
    return replace(found, p=float("nan"), better=None) if found.n else None
