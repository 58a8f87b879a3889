"""Curves over epochs, with their bands over seeds and their names at their ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from droplab.report._frame import Frame, Ids, chart
from droplab.report._svg import bounds, element, number, polyline, shorten, spread_out
from droplab.report._theme import colour_class, dash

MOST_POINTS, FEWEST_POINTS, POINTS_OF_A_CHART = 80, 16, 900
SETTLING, CUT_FROM = 0.15, 2.2
"""If all epochs span 2.2 times what the last 85 % of them do, the first ones are cut off."""
LABEL_GAP = 14.0


@dataclass(frozen=True)
class Series:
    """One curve.

    Args:
        name: What stands at its end.
        place: Place of its colour.
        mean: One value an epoch; NaN where there is none.
        low: Lower edge of the band, or empty for no band.
        high: Upper edge of the band.
        pattern: Dash pattern; None for the one of its colour.
        faint: Whether it stays in the background, without a name.
        ring: An epoch, from 1, to mark on it; None for none.
        seeds: What each seed has at the last epoch, a dot each.
    """

    name: str
    place: int
    mean: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    pattern: str | None = None
    faint: bool = False
    ring: float | None = None
    seeds: Sequence[float] = ()


@dataclass(frozen=True)
class Shade:
    """The area between two of the curves, by their position."""

    upper: int
    lower: int
    place: int


def kept(count: int, curves: int = 1) -> list[int]:
    """Return which of `count` epochs are drawn: all, or enough to see every turn, and the last.

    The more curves, the fewer points for each, so that a page of a hundred arms stays small.
    """
    most = max(FEWEST_POINTS, min(MOST_POINTS, POINTS_OF_A_CHART // max(curves, 1)))
    step = max(1, math.ceil(count / most))
    return sorted({*range(0, count, step), count - 1})


@dataclass(frozen=True)
class Curves:
    """What a chart of curves shows.

    Args:
        title: Its title.
        series: The curves, the most important last.
        percent: Whether values are fractions.
        note: A remark under the title.
        y_range: The range of values, to share it with another chart; None: what is there.
        shade: An area between two curves.
        mark: An epoch to mark, with the words for it.
    """

    title: str
    series: Sequence[Series]
    percent: bool = False
    note: str = ""
    y_range: tuple[float, float] | None = None
    shade: Shade | None = None
    mark: tuple[int, str] | None = None
    right: float = 96


def value_range(series: Sequence[Series]) -> tuple[float, float]:
    """Return the range that shows these curves, their bands and dots.

    The first epochs often span many times what comes after, and what matters would be a flat line.
    Then the range is that of the later epochs, with some air, and the first ones are cut off.
    """
    full = bounds(v for s in series for v in (*s.mean, *s.low, *s.high, *s.seeds))
    later = bounds(
        (
            value
            for s in series
            for curve in (s.mean, s.low, s.high)
            for value in (*curve[math.ceil(SETTLING * len(curve)) :], *s.seeds)
        ),
        pad=0.12,
    )
    if full[1] - full[0] <= CUT_FROM * (later[1] - later[0]):
        return full
    return max(full[0], later[0]), min(full[1], later[1])


def is_cut(curves: Curves, y_range: tuple[float, float]) -> bool:
    """Return whether a curve leaves the range."""
    values = [v for s in curves.series for v in s.mean if math.isfinite(v)]
    return any(not y_range[0] <= v <= y_range[1] for v in values)


def draw_curves(ids: Ids, curves: Curves) -> Markup:
    """Return the chart."""
    epochs = max((len(s.mean) for s in curves.series), default=1)
    span = (1.0, float(max(epochs, 2)))
    y_range = curves.y_range or value_range(curves.series)
    frame = Frame.of(span, y_range, right=curves.right)
    axes = [
        frame.y_axis(percent=curves.percent),
        frame.x_axis("epoch", values=_epoch_ticks(epochs)),
    ]
    parts: list[str] = []
    if curves.shade is not None:
        upper, lower = (curves.series[i].mean for i in (curves.shade.upper, curves.shade.lower))
        parts.append(_area(frame, upper, lower, f"band {colour_class(curves.shade.place)}"))
    parts += [
        _area(frame, s.high, s.low, f"band {colour_class(s.place)}")
        for s in curves.series
        if len(s.low) and not s.faint
    ]
    if curves.mark is not None:
        axes.append(_mark(frame, *curves.mark))
    for s in curves.series:
        at = kept(len(s.mean), len(curves.series))
        style = "thin faint" if s.faint else "line"
        parts.append(
            element(
                "path",
                d=polyline((frame.x(i + 1.0), frame.y(s.mean[i])) for i in at),
                class_=f"{style} {colour_class(s.place)}",
                stroke_dasharray=dash(s.place) if s.pattern is None else s.pattern or None,
            )
        )
    parts += [_ring(frame, s, s.ring) for s in curves.series if s.ring is not None]
    parts += [_dots(frame, s) for s in curves.series]
    names = _names(frame, [s for s in curves.series if not s.faint])
    note = curves.note
    if is_cut(curves, y_range):
        note += ", first epochs cut" if note else "first epochs cut"
        parts = [frame.clipped(ids, *parts)]
    return chart(ids, curves.title, _described(curves), *axes, *parts, names, note=note)


def _epoch_ticks(epochs: int) -> list[float]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if epochs / s <= 6)
    at = sorted({1, *range(step, epochs + 1, step)})
    if step > 1 and len(at) > 1 and at[1] - 1 < step / 2:
        at.pop(1)
    return [float(epoch) for epoch in at]


def _area(frame: Frame, upper: Sequence[float], lower: Sequence[float], style: str) -> Markup:
    at = [i for i in kept(len(upper)) if math.isfinite(upper[i]) and math.isfinite(lower[i])]
    if not at:
        return Markup("")
    there = [(frame.x(i + 1.0), frame.y(upper[i])) for i in at]
    back = [(frame.x(i + 1.0), frame.y(lower[i])) for i in reversed(at)]
    return element("path", d=polyline([*there, *back]) + "Z", class_=style)


def _dots(frame: Frame, series: Series) -> Markup:
    x, style = frame.x(float(len(series.mean))), f"dot {colour_class(series.place)}"
    there = (v for v in series.seeds if math.isfinite(v))
    return Markup("").join(
        element("circle", cx=x, cy=frame.y(v), r=1.8, class_=style) for v in there
    )


def _mark(frame: Frame, epoch: int, words: str) -> Markup:
    x = frame.x(float(epoch))
    right_half = x > (frame.left + frame.right) / 2
    return Markup("").join(
        [
            element(
                "path",
                d=f"M{number(x)} {number(frame.top)}V{number(frame.bottom)}",
                class_="zero",
                stroke_dasharray="2 4",
            ),
            element(
                "text",
                words,
                x=x + (-5 if right_half else 5),
                y=frame.top + 10,
                text_anchor="end" if right_half else "start",
                class_="note",
            ),
        ]
    )


def _ring(frame: Frame, series: Series, epoch: float) -> Markup:
    at = np.interp(epoch, np.arange(1, len(series.mean) + 1), series.mean)
    if not math.isfinite(at):
        return Markup("")
    style = f"ring {colour_class(series.place)}"
    return element("circle", cx=frame.x(epoch), cy=frame.y(float(at)), r=4.5, class_=style)


def _names(frame: Frame, series: Sequence[Series]) -> Markup:
    """Write every curve's name at its end, moved where names would overlap."""
    ends: list[tuple[Series, float, float]] = []
    for s in series:
        last = [i for i, value in enumerate(s.mean) if math.isfinite(value)]
        if last:
            ends.append((s, frame.x(last[-1] + 1.0), frame.y(s.mean[last[-1]])))
    places = spread_out([y for *_, y in ends], LABEL_GAP, frame.top, frame.bottom)
    parts: list[str] = []
    for (s, x, y), moved in zip(ends, places, strict=True):
        style = colour_class(s.place)
        if abs(moved - y) > 3 or x < frame.right - 1:
            path = f"M{number(x + 3)} {number(y)}L{number(frame.right + 9)} {number(moved)}"
            parts.append(element("path", d=path, class_=f"leader {style}"))
        label = shorten(s.name, 14)
        parts.append(
            element("text", label, x=frame.right + 12, y=moved + 4, class_=f"label {style}")
        )
    return Markup("").join(parts)


def _described(curves: Curves) -> str:
    """Say where every curve begins and ends."""
    said: list[str] = []
    for s in curves.series:
        finite = [(i, v) for i, v in enumerate(s.mean) if math.isfinite(v)]
        if finite:
            (_, first), (i, last) = finite[0], finite[-1]
            scale, unit = (100, " %") if curves.percent else (1, "")
            said.append(
                f"{s.name}: {scale * first:.3g}{unit} to {scale * last:.3g}{unit}, epoch {i + 1}"
            )
    return f"{curves.title} per epoch. {'; '.join(said)}."
