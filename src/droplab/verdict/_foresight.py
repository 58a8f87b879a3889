"""What the seeds of a recipe will be able to see, said before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from droplab.errors import ArgumentError
from droplab.recipe import Recipe, differences
from droplab.results import RunResult
from droplab.verdict._method import method_of
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._power import POWER, seeds_to_see, smallest_effect, spread_bound
from droplab.verdict._signflip import fewest
from droplab.verdict._table import Table
from droplab.verdict._trend import SHAPES, one_rate
from droplab.verdict._types import QUESTIONS

_OTHERWISE = ("seeds", "looks", "primary", "score_train", "also_measure")
_PARTS = ("arms.", "target.", "stopping.")
"""What an earlier run may have otherwise: the spread of the last epoch does not depend on it."""


@dataclass(frozen=True)
class Foresight:
    """The smallest effect that a verdict will find in 80 % of runs.

    Args:
        pairs: Seeds, or folds over all repeats.
        tests: Differences that are tested together: arms times questions.
        level: Coverage of the verdict's intervals.
        metric: Name of the metric that decides.
        effect: The effect in standard deviations of the paired differences; infinite where so few
            pairs carry no verdict.
        spreads: Arm of an earlier run -> what that standard deviation is at most, with 80 %
            confidence; empty where nothing is known.
        effects: Arm -> the effect in the metric's own unit, from these.
        wanted: The effect that somebody wants to see, in the metric's unit where spreads are known,
            else in standard deviations; None if nobody said.
        needed: How many seeds see it; None if nobody asked, or more than 1000.
        sentence: The same in words.
    """

    pairs: int
    tests: int
    level: float
    metric: str
    effect: float
    spreads: Mapping[str, float]
    effects: Mapping[str, float]
    wanted: float | None
    needed: int | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON can hold it: what is infinite is None."""
        finite = {name: _finite(value) for name, value in asdict(self).items()}
        return finite | {"effects": {arm: _finite(value) for arm, value in self.effects.items()}}


def foresee(
    recipe: Recipe,
    arms: Sequence[str] | None = None,
    earlier: RunResult | None = None,
    *,
    wanted: float | None = None,
) -> Foresight:
    """Return the smallest effect that a recipe's seeds will see.

    How large that is follows from how much the paired differences scatter, which an earlier run
    tells: its spread is a sample, so what is taken is its upper 80 % bound. The effect that the
    earlier run found plays no part: planning by it promises too much.

    Args:
        recipe: The recipe.
        arms: The arms that are trained; None for all.
        earlier: A run of the same recipe, but for seeds and arms; None if there is none.
        wanted: The smallest effect of interest, to learn how many seeds see it; in the metric's
            own unit with an earlier run (0.01 of an accuracy is a point), else in standard
            deviations of the paired differences.

    Raises:
        ArgumentError: The earlier run is of another recipe, lacks the metric or has fewer than two
            seeds in common with its baseline; or `wanted` is no positive number.

    Example:
        >>> from droplab.recipe import load
        >>> found = foresee(load("digits"))
        >>> found.pairs, found.tests, found.effect > 1
        (8, 6, True)
    """
    if wanted is not None and not 0 < wanted < math.inf:
        raise ArgumentError(f"effect: expected a number above 0, got {wanted:g}")
    metric = RunMetrics.of(recipe).named(recipe.primary)
    by = method_of(recipe.data, recipe.level)
    pairs, folds = len(recipe.seeds), recipe.data.folds
    others = [arm for arm in recipe.selected(arms) if arm != recipe.baseline]
    trends = len(SHAPES) if one_rate(recipe) and len(others) + 1 == len(recipe.arms) else 0
    tests = len(QUESTIONS) * (len(others) + trends)
    effect = (
        smallest_effect(
            tests, pairs, level=by.level, folds=folds, held=bool(recipe.data.stop_on_fold)
        )
        if tests
        else math.inf
    )
    spreads = _spreads(recipe, earlier) if earlier is not None else {}
    effects = {arm: effect * spread for arm, spread in spreads.items()}
    needed = None
    if wanted is not None and tests:
        if folds is not None:
            raise ArgumentError(
                "effect: expected a recipe without folds: more repeats see little more, so the "
                "number of seeds is not what to ask for"
            )
        spread = max(spreads.values(), default=1.0)
        least = fewest(by.level)
        needed = seeds_to_see(wanted / spread, tests, level=by.level) if spread else least
    if not others:
        sentence = "There is no arm to compare with the baseline."
    elif math.isinf(effect):
        why = by.too_few(pairs)
        sentence = f"{why[:1].upper()}{why[1:]}."
    else:
        sentence = _seen(by.count(pairs), metric, effect, spreads)
    if wanted is not None and others:
        sentence += f" {_needed(wanted, needed, metric if spreads else None)}"
    return Foresight(
        *(pairs, tests, by.level, metric.name, effect, spreads, effects, wanted, needed, sentence)
    )


def _seen(units: str, metric: WrittenMetric, effect: float, spreads: Mapping[str, float]) -> str:
    often = f"in {100 * POWER:.0f} % of runs"
    if not spreads:
        return (
            f"{units} see an effect on {metric.label} from {effect:.1f} standard deviations of the "
            f"paired differences on, {often}; how large that is, a run tells."
        )
    arm = max(spreads, key=spreads.__getitem__)
    return (
        f"{units} see an effect on {metric.label} from {metric.size(effect * spreads[arm])} on, "
        f"{often}: paired differences scatter by at most {metric.size(spreads[arm])} ('{arm}' of "
        "an earlier run, with 80 % confidence)."
    )


def _unlike(recipe: Recipe, earlier: RunResult) -> list[str]:
    """Return what keeps a run's spread from being that of a recipe, a few words each."""
    return [
        f"{each.key} (it has {each.before}, the recipe {each.after})"
        for each in differences(earlier.recipe, recipe)
        if each.key not in _OTHERWISE and not each.key.startswith(_PARTS)
    ]


def _spreads(recipe: Recipe, earlier: RunResult) -> dict[str, float]:
    """Return the upper bound of the spread of each arm's differences in an earlier run."""
    if found := _unlike(recipe, earlier):
        raise ArgumentError(
            f"{earlier.path}: expected a run of the same recipe, but for seeds and arms; it "
            f"differs in {', '.join(found[:3])}{', and more' if len(found) > 3 else ''}"
        )
    if recipe.primary not in earlier.metrics:
        raise ArgumentError(f"{earlier.path}: has no '{recipe.primary}', which decides")
    table = Table.of_result(earlier, recipe.primary)
    values = table.compared(recipe.primary)
    baseline = values[table.arms.index(earlier.recipe.baseline.name)]
    bounds: dict[str, float] = {}
    for name, row in zip(table.arms, values - baseline, strict=True):
        there = row[np.isfinite(row)]
        if name != earlier.recipe.baseline.name and len(there) >= 2:
            bounds[name] = spread_bound(float(there.std(ddof=1)), len(there))
    if not bounds:
        raise ArgumentError(
            f"{earlier.path}: expected an arm with at least two seeds in common with the baseline, "
            "to see how their differences scatter; there is none"
        )
    return bounds


def _needed(wanted: float, needed: int | None, metric: WrittenMetric | None) -> str:
    size = metric.size(wanted) if metric else f"{wanted:g} standard deviations"
    if needed is None:
        return f"More than 1000 seeds would be needed to see {size}."
    return f"{needed} seeds see {size}."


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
