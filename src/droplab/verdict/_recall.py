"""The recall of each class: whether some class pays for what the mean over all examples gains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from droplab.results import RunResult
from droplab.verdict._method import Method
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._paired import less, paired, quoted
from droplab.verdict._table import Table
from droplab.verdict._types import ClassRecall

Floats = NDArray[np.float64]

RECALL = WrittenMetric("recall", "recall", higher_is_better=True, unit="%", split="validation")

MOST = 1000
"""Comparisons, of classes times arms: with more of them nothing is said of single classes."""

_NAMED = 3


def judge_recalls(
    result: RunResult, table: Table, about: About, by: Method
) -> tuple[ClassRecall, ...]:
    """Compare the recall of each class with the baseline's, all classes and arms at once.

    It is that of the last epoch. The same signs are flipped for all comparisons and the maximum is
    over all, so that the chance that any class is named falsely is that of one test.

    Returns:
        For each class in order, one for each arm but the baseline; none where the run has no
        counts of answers, or too many classes.
    """
    counts = {(row.arm, row.seed): row.classes for row in result.answers}
    sizes = {len(each) for each in counts.values()}
    others = len(table.arms) - 1
    if not table.at_end or len(sizes) != 1 or not 0 < max(sizes) * others <= MOST:
        return ()
    found, known = _values(counts, table, max(sizes))
    baseline = table.arms.index(table.recipe.baseline.name)
    judged = list(by.compare(np.concatenate([less(each, baseline) for each in found])))
    recalls: list[ClassRecall] = []
    for i, values in enumerate(found):
        mine = [judged.pop(0) for _ in range(others)]
        differences = paired(table.arms, values, baseline, RECALL, by, mine)
        label = about.classes[i] if len(about.classes) == len(found) else str(i)
        recalls += [ClassRecall(label, known[i], each) for each in differences.values()]
    return tuple(recalls)


def _values(
    counts: dict[tuple[str, int], tuple[tuple[int, int], ...]], table: Table, classes: int
) -> tuple[Floats, list[float]]:
    """Return the recalls, shape (classes, arms, seeds), and how many examples a class has.

    A class that a replica's examples do not have has none there.
    """
    found = np.full((classes, len(table.arms), len(table.seeds)), math.nan)
    sizes = np.full_like(found, math.nan)
    done = table.done()
    lost = {arm for arm, _ in table.diverged} - {table.recipe.baseline.name}
    for i, arm in enumerate(table.arms):
        for j, seed in enumerate(table.seeds):
            if not done[i, j] or arm in lost or (arm, seed) not in counts:
                continue
            numbers = np.array(counts[arm, seed], dtype=np.float64)
            sizes[:, i, j] = numbers[:, 0]
            there = numbers[:, 0] > 0
            found[there, i, j] = numbers[there, 1] / numbers[there, 0]
    known = sizes[:, ~np.isnan(sizes[0])]
    return found, (known.sum(axis=1) / max(1, known.shape[1])).tolist()


def fallen(recalls: Sequence[ClassRecall]) -> tuple[ClassRecall, ...]:
    """Return the classes of which fewer are found than without dropout, the largest fall first."""
    falls = [each for each in recalls if each.difference.better is False]
    return tuple(sorted(falls, key=lambda each: each.difference.mean))


def recall_text(recalls: Sequence[ClassRecall], after: str) -> str:
    """Name the classes whose recall falls, arm by arm; "" if none does."""
    falls = fallen(recalls)
    if not falls:
        return ""
    arms = list(dict.fromkeys(each.difference.arm for each in falls))
    said: list[str] = []
    for arm in arms[:_NAMED]:
        mine = [each for each in falls if each.difference.arm == arm]
        classes = [f"'{each.label}' ({_change(each)})" for each in mine[:_NAMED]]
        if len(mine) > _NAMED:
            more = len(mine) - _NAMED
            classes.append(f"{more} more {'class' if more == 1 else 'classes'}")
        *most, last = classes
        listed = f"{', '.join(most)} and {last}" if most else last
        said.append(f"with {quoted([arm])} that of {listed}")
    if len(arms) > _NAMED:
        more = len(arms) - _NAMED
        said.append(f"with {more} more {'arm' if more == 1 else 'arms'} that of some class")
    return f"Recall falls {after}, over all classes and arms at once: {'; '.join(said)}."


def _change(found: ClassRecall) -> str:
    before, after = RECALL.apart(found.difference.before, found.difference.after)
    low, high = found.difference.low, found.difference.high
    # a recall of two examples moves by halves, and seeds alone do not show that
    size = f"{found.examples:.0f} example{'' if round(found.examples) == 1 else 's'}"
    return f"{before} to {after}, {RECALL.interval(low, high)}, of {size}"
