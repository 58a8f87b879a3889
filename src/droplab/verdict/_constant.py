"""Whether arms beat the answer that is always the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import FURTHER, TASKS
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._paired import quoted
from droplab.verdict._table import Table

Floats = NDArray[np.float64]

_NORMAL = 1.645
"""One-sided 5 % of the normal law."""

FEWEST = 5
"""Seeds from which on the sign test can say at 5 % that an arm is better: 1 / 2^5 is 3.1 %."""

_RULED_OUT = {
    "gap",
    *(
        each.validation.name
        for tables in (TASKS, FURTHER)
        for each in chain.from_iterable(tables.values())
        if not each.of_constant
    ),
}
"""Metrics of which a constant's value says nothing: it is calibrated, and recalls one class."""


@dataclass(frozen=True)
class Beaten:
    """What the arms do beside a constant answer, in one metric.

    Attributes:
        metric: Which.
        constant: What the constant has.
        means: What each arm has, on the mean over seeds.
        shown: The arms that are shown to be better.
    """

    metric: WrittenMetric
    constant: float
    means: Mapping[str, float]
    shown: frozenset[str]
    name: str | None = field(default=None)

    def worse(self, arm: str) -> bool:
        """Whether an arm is no better on the mean."""
        mean = self.means[arm]
        return math.isfinite(mean) and not self.metric.better(mean, self.constant)


def beside_constant(
    table: Table,
    primary: WrittenMetric,
    metrics: RunMetrics,
    about: About,
    examples: Mapping[tuple[str, int], tuple[Floats, Floats]],
) -> tuple[Beaten, ...]:
    """Return what the arms do beside a constant: in the share that is right, and what decides.

    An arm is shown to be better if a one-sided sign test over seeds says so at 5 %, and the mean
    margin is larger than 1.645 standard errors over examples and seeds. Where the values of single
    examples are not known, the error of a share is the largest that both shares allow.
    """
    found: list[Beaten] = []
    wanted = [metrics.score] if metrics.counts_right else []
    for metric in dict.fromkeys([*wanted, primary]):
        constant = about.constant.get(metric.name, math.nan)
        if metric == metrics.score and math.isnan(constant):
            constant = about.share
        if metric.name in _RULED_OUT or metric.split != "validation" or not math.isfinite(constant):
            continue
        values = table.judged(metric.name)
        shown: set[str] = set()
        means: dict[str, float] = {}
        for name, row in zip(table.arms, values, strict=True):
            there = row[np.isfinite(row)]
            means[name] = float(there.mean()) if len(there) else math.nan
            margins = there - constant if metric.higher_is_better else constant - there
            error = _error(name, metric, means[name], constant, primary, about, examples)
            if len(margins) < FEWEST:  # no test could say so: only the mean is looked at
                said = len(margins) > 0 and margins.mean() > 0
            else:
                said = beats(margins, error)
            if said:
                shown.add(name)
        named = about.commonest if metrics.counts_right and metric == metrics.score else None
        found.append(Beaten(metric, constant, means, frozenset(shown), named))
    return tuple(found)


def beats(margins: Floats, error: float) -> bool:
    """Return whether margins of seeds over a constant, one a seed, show more than chance.

    So many are above 0 that the sign test says so at 5 %, and their mean exceeds 1.645 of its
    standard error over examples and seeds.
    """
    n, better = len(margins), int((margins > 0).sum())
    clear = sum(math.comb(n, k) for k in range(better, n + 1)) <= 0.05 * 2**n
    whole = math.hypot(error, float(margins.std(ddof=1)) / math.sqrt(n))
    return clear and float(margins.mean()) > _NORMAL * whole


def _error(
    arm: str,
    metric: WrittenMetric,
    mean: float,
    constant: float,
    primary: WrittenMetric,
    about: About,
    examples: Mapping[tuple[str, int], tuple[Floats, Floats]],
) -> float:
    """Return the standard error over examples of an arm's margin."""
    own = [values for (name, _), (values, _) in examples.items() if name == arm]
    fixed = np.array(about.constant_examples)
    if metric == primary and own and all(len(each) == len(fixed) for each in own):
        return float((np.mean(own, axis=0) - fixed).std(ddof=1)) / math.sqrt(len(fixed))
    if metric.fraction and about.validation and 0 <= mean <= 1:
        differ = min(mean + constant, 2 - mean - constant)  # examples on which they can differ
        return math.sqrt(max(differ - (mean - constant) ** 2, 0.0) / about.validation)
    return 0.0


def with_constant(
    said: str,
    beside: Sequence[Beaten],
    best: str | None,
    arms: Sequence[str],
    metrics: RunMetrics,
) -> str:
    """Put what a constant answer does to the headline, first where the best arm does not beat it.

    Args:
        said: The headline without it.
        beside: What the arms do beside it.
        best: The arm with the best mean, the baseline among the candidates.
        arms: The arms, in the recipe's order.
        metrics: What was measured.
    """
    for each in beside:
        if best is None or best in each.shown:
            continue
        better = not each.worse(best)
        begin = "Not shown to beat" if better else "No better than"
        mine, constant = each.metric.apart(each.means[best], each.constant)
        what = (
            f"always '{each.name}' gets {constant} of the {metrics.examples} examples right, and "
            f"the best arm, '{best}', {mine}"
            if each.name is not None
            else f"the same answer for every example has a {each.metric.label} of {constant}, and "
            f"the best arm, '{best}', one of {mine}"
        )
        said = f"{begin} a constant answer: {what}. {said}"
        rest = [name for name in arms if name != best and each.worse(name)]
        if rest and each.name is not None:
            verb = "gets" if len(rest) == 1 else "get"
            said += f" {quoted(rest)} {verb} no more right than that either."
        return said
    for each in beside:
        worse = [name for name in arms if each.worse(name)]
        if worse and each.name is not None:
            verb = "gets" if len(worse) == 1 else "get"
            said += (
                f" {quoted(worse)} {verb} no more right than the constant answer '{each.name}', "
                f"{each.metric.text(each.constant)}."
            )
    return said
