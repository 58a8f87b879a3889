"""Early stopping, chosen on one half of the validation examples and measured on the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import StoppingSpec, stopped_epoch
from droplab.results import RunResult
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._table import Table

Floats = NDArray[np.float64]

HALVINGS = ((0, 1, 2, 3), (0, 1, 4, 5), (0, 2, 4, 6), (0, 3, 5, 6))
"""The first halves of the four ways in which eight blocks are divided, the same for every run. Each
two of them share two blocks, so that no pair of blocks is always on one side."""

BLOCKS = 8


@dataclass(frozen=True)
class Stopped:
    """What stopping early would have given, of every arm and seed.

    Attributes:
        values: The metric at the stopped epochs, shape (arms, seeds); NaN where it cannot be had.
        blocks: The same on each block of examples, shape (arms, seeds, 8).
        last_blocks: The metric on each block at the judged epoch, shape (arms, seeds, 8).
        weights: What the blocks count, shape (arms, seeds, 8).
        epochs: The epoch at which all validation examples would stop, from 1; 0 where there is
            none. Shape (arms, seeds).
    """

    values: Floats
    blocks: Floats
    last_blocks: Floats
    weights: Floats
    epochs: NDArray[np.int64]


def stopped_of(result: RunResult, table: Table, metric: WrittenMetric) -> Stopped | None:
    """Return what stopping early gives; None for runs that have no blocks of this metric.

    The epoch is chosen on one half of the blocks and measured on the other, and the other way
    round, for each of `HALVINGS`; the mean over all of them, weighted as the blocks are, is the
    value. No example has a part in choosing the epoch that it is measured at.
    """
    if metric.name != result.recipe.primary:
        return None
    if result.recipe.stops_by != metric.name:
        return _by_its_own_fold(result, table, metric)
    if not result.blocks:
        return None
    shape = (len(table.arms), len(table.seeds))
    curves = np.full((*shape, table.epoch, BLOCKS), math.nan)
    weights = np.full((*shape, BLOCKS), math.nan)
    for row in result.blocks:
        known = row.arm in table.arms and row.seed in table.seeds
        if known and row.epoch <= table.epoch:
            place = table.arms.index(row.arm), table.seeds.index(row.seed)
            curves[*place, row.epoch - 1] = row.values
            weights[place] = row.weights
    blocks = np.full((*shape, BLOCKS), math.nan)
    epochs = np.zeros(shape, dtype=np.int64)
    whole, done, rule = table.curves(metric.name), table.done(), result.recipe.stopping
    for place in np.ndindex(shape):
        if done[place] and np.isfinite(curves[place]).all():
            blocks[place] = stopped_blocks(curves[place], weights[place], metric, rule)
            epochs[place] = _epoch(whole[place][: table.epoch].tolist(), metric, rule)
    values = (blocks * weights).sum(axis=2) / weights.sum(axis=2)
    return _known(table, Stopped(values, blocks, curves[:, :, -1], weights, epochs))


def _by_its_own_fold(result: RunResult, table: Table, metric: WrittenMetric) -> Stopped | None:
    """Return the same of a run whose epochs are chosen by a fold that nothing else is done with.

    All validation examples are then one block.
    """
    shape = (len(table.arms), len(table.seeds))
    values, last = np.full(shape, math.nan), np.full(shape, math.nan)
    epochs = np.zeros(shape, dtype=np.int64)
    rule, done = result.recipe.stopping, table.done()
    held, own = table.curves(result.recipe.stops_by), table.curves(metric.name)
    for place in zip(*np.nonzero(done), strict=True):
        epochs[place] = _epoch(held[place][: table.epoch].tolist(), metric, rule)
        values[place] = own[place][epochs[place] - 1]
        last[place] = own[place][table.epoch - 1]
    ones = np.ones((*shape, 1))
    return _known(table, Stopped(values, values[..., None], last[..., None], ones, epochs))


def _known(table: Table, found: Stopped) -> Stopped | None:
    """Return it without what cannot be compared; None if nothing can."""
    values, done = found.values, table.done()
    values[(done & np.isnan(values)).any(axis=1)] = math.nan
    lost = {arm for arm, _ in table.diverged} - {table.recipe.baseline.name}
    values[[name in lost for name in table.arms]] = math.nan
    if np.isnan(values).all():
        return None
    return found


def no_blocks_text(table: Table, metric: WrittenMetric, about: About) -> str:
    """Say why nothing is said of early stopping, where a run has epochs but no blocks.

    "" where its data have said so already.
    """
    if table.epoch < 2 or any("early stopping" in note for note in about.odd):
        return ""
    where = "run has" if about.seen else "rows have"
    return (
        f"Nothing is said of early stopping: the {where} no {metric.label} on blocks of the "
        f"{table.metrics.examples} examples, and an epoch must not be chosen by the examples that "
        "measure it."
    )


def stopped_blocks(
    curves: Floats, weights: Floats, metric: WrittenMetric, rule: StoppingSpec
) -> Floats:
    """Return the metric of each block at the epochs that the halves without it choose.

    Args:
        curves: The metric of one replica, shape (epochs, 8).
        weights: What each block counts, shape (8,).
        metric: The metric.
        rule: How early stopping goes.
    """
    total = np.zeros(BLOCKS)
    for first in HALVINGS:
        second = tuple(sorted(set(range(BLOCKS)) - set(first)))
        for chosen_on, measured_on in ((first, second), (second, first)):
            chosen, measured = list(chosen_on), list(measured_on)
            mean = curves[:, chosen] @ weights[chosen] / weights[chosen].sum()
            total[measured] += curves[_epoch(mean.tolist(), metric, rule) - 1, measured]
    return total / len(HALVINGS)


def _epoch(values: Sequence[float], metric: WrittenMetric, rule: StoppingSpec) -> int:
    return stopped_epoch(
        values,
        higher_is_better=metric.higher_is_better,
        patience=rule.patience,
        min_gain=rule.min_gain,
    )
