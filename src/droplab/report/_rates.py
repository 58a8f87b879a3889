"""A metric against the rate, where the arms of a run are one rate after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from droplab.recipe import Recipe
from droplab.report._frame import Frame, Ids, chart
from droplab.report._svg import bounds, element, number, polyline
from droplab.verdict import Verdict, WrittenMetric

FEWEST = 3


@dataclass(frozen=True)
class RatePoint:
    """One arm on the curve: its rate, and its mean with the interval of its difference."""

    rate: float
    arm: str
    mean: float
    low: float
    high: float
    seeds: Sequence[float]


def rates_of(recipe: Recipe) -> dict[str, float] | None:
    """Return the one rate of every arm, baseline first at 0; None if the arms form no curve.

    They do when there are at least three with different rates, and every arm but the baseline has
    one rate at the same sites with the same kind of dropout.
    """
    others = [arm for arm in recipe.arms if arm != recipe.baseline]
    if any(arm.existing or arm.schedule for arm in recipe.arms):
        return None
    kinds = {(frozenset(arm.rates), arm.kind) for arm in others}
    rates = {arm.name: set(arm.rates.values()) for arm in others}
    if len(kinds) != 1 or any(len(each) != 1 for each in rates.values()):
        return None
    found = {recipe.baseline.name: 0.0, **{name: each.pop() for name, each in rates.items()}}
    if len(found) < FEWEST or len(set(found.values())) < len(found):
        return None
    return dict(sorted(found.items(), key=lambda item: item[1]))


def rate_points(
    recipe: Recipe, verdict: Verdict, metric: WrittenMetric, seeds: dict[str, Sequence[float]]
) -> list[RatePoint]:
    """Return the points of the curve, by rate; empty if the arms form none."""
    rates = rates_of(recipe)
    points: list[RatePoint] = []
    for name, rate in (rates or {}).items():
        arm = verdict.arm(name)
        mean = arm.metrics[metric.name].mean
        found = arm.differences.get(metric.name)
        # The interval is that of the difference, drawn around the arm's own mean.
        low, high = (found.low - found.mean, found.high - found.mean) if found else (0.0, 0.0)
        if math.isfinite(mean):
            points.append(RatePoint(rate, name, mean, mean + low, mean + high, seeds[name]))
    return points


def draw_rates(
    ids: Ids, metric: WrittenMetric, points: Sequence[RatePoint], without: str
) -> Markup:
    """Return the chart of the metric against p; the baseline's line is called `without`."""
    y_range = bounds(v for p in points for v in (p.mean, p.low, p.high, *p.seeds))
    last = max(p.rate for p in points)
    frame = Frame.of((-0.03 * last, last * 1.03), y_range, right=20)
    best = max(points, key=lambda p: p.mean if metric.higher_is_better else -p.mean)
    base = frame.y(points[0].mean)
    upper = [(frame.x(p.rate), frame.y(_finite(p.high, y_range[1]))) for p in points]
    lower = [(frame.x(p.rate), frame.y(_finite(p.low, y_range[0]))) for p in points]
    parts: list[str] = [
        frame.y_axis(percent=metric.fraction),
        frame.x_axis("rate p"),
        element("path", d=polyline([*upper, *reversed(lower)]) + "Z", class_="band c1"),
        element(
            "path",
            d=f"M{number(frame.left)} {number(base)}H{number(frame.right)}",
            class_="zero",
            stroke_dasharray="4 4",
        ),
        element(
            "text",
            without,
            x=frame.right,
            # on the side of the line where the curve is not
            y=base - 6 if frame.y(points[-1].mean) > base else base + 14,
            text_anchor="end",
            class_="note halo",
        ),
        element(
            "path",
            d=polyline((frame.x(p.rate), frame.y(p.mean)) for p in points),
            class_="line c1",
        ),
    ]
    for p in points:
        parts += [
            element("circle", cx=frame.x(p.rate), cy=frame.y(v), r=1.8, class_="dot c1")
            for v in p.seeds
            if math.isfinite(v)
        ]
        is_best = p is best
        parts.append(
            element(
                "circle",
                cx=frame.x(p.rate),
                cy=frame.y(p.mean),
                r=5.5 if is_best else 3.5,
                class_=f"mark {'c2' if is_best else 'c1'}",
            )
        )
    said = "; ".join(f"p = {p.rate:g}: {metric.text(p.mean)}" for p in points)
    return chart(
        ids,
        f"{metric.title} against the rate",
        f"{metric.title} against the rate. {said}.",
        *parts,
        note=f"best at p = {best.rate:g}: {metric.text(best.mean)}; band: interval of difference",
    )


def _finite(value: float, instead: float) -> float:
    return value if math.isfinite(value) else instead
