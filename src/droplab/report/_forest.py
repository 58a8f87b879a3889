"""Paired differences with their intervals, one line an arm, one dot a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from droplab.report._frame import WIDTH, Frame, Ids, chart
from droplab.report._svg import element, number, shorten
from droplab.report._theme import colour_class
from droplab.verdict import Difference, WrittenMetric

ROW = 34.0


@dataclass(frozen=True)
class ForestRow:
    """One arm: its paired difference, and the difference of each seed."""

    name: str
    place: int
    difference: Difference
    seeds: Sequence[float]


def draw_forest(
    ids: Ids,
    metric: WrittenMetric,
    rows: Sequence[ForestRow],
    baseline: str,
    *,
    row_height: float = ROW,
) -> Markup:
    """Return the chart of the differences to the baseline in one metric."""
    height = 36 + row_height * len(rows) + 44
    low, high = _range(rows)
    frame = Frame.of((low, high), (0.0, 1.0), left=92, right=62, top=36, bottom=44, height=height)
    zero = frame.x(0.0)
    better = (zero, frame.right) if metric.higher_is_better else (frame.left, zero)
    parts: list[str] = [
        element(
            "rect",
            x=better[0],
            y=frame.top,
            width=max(better[1] - better[0], 0.0),
            height=frame.bottom - frame.top,
            class_="goodside",
        ),
        frame.x_axis(
            f"difference to '{shorten(baseline, 24)}'", percent=metric.fraction, lines=True
        ),
        element(
            "path", d=f"M{number(zero)} {number(frame.top)}V{number(frame.bottom)}", class_="zero"
        ),
    ]
    for i, row in enumerate(rows):
        parts.append(_row(frame, metric, row, frame.top + row_height * (i + 0.5)))
    unit = ", points" if metric.fraction else ""
    said = "; ".join(
        f"{row.name}: {metric.difference(row.difference.mean)}, interval "
        f"{metric.interval(row.difference.low, row.difference.high)}"
        for row in rows
    )
    return chart(
        ids,
        f"Difference in {metric.label}{unit}",
        f"Paired differences to {baseline} in {metric.label}. {said}.",
        *parts,
        note=f"{'right' if metric.higher_is_better else 'left'} of the line is better",
        height=height,
    )


def _range(rows: Sequence[ForestRow]) -> tuple[float, float]:
    values = [0.0]
    for row in rows:
        found = row.difference
        values += [v for v in (found.low, found.mean, found.high, *row.seeds) if math.isfinite(v)]
    low, high = min(values), max(values)
    air = (high - low) * 0.08 or 1.0
    return low - air, high + air


def _row(frame: Frame, metric: WrittenMetric, row: ForestRow, y: float) -> Markup:
    style, found = colour_class(row.place), row.difference
    parts: list[str] = [
        element(
            "text",
            shorten(row.name, 14),
            x=frame.left - 8,
            y=y + 4,
            text_anchor="end",
            class_=f"label {style}",
        )
    ]
    if math.isfinite(found.mean):
        ends = [
            frame.x(value) if math.isfinite(value) else edge
            for value, edge in ((found.low, frame.left), (found.high, frame.right))
        ]
        open_end = math.isinf(found.low) or math.isinf(found.high)
        parts.append(
            element(
                "path",
                d=f"M{number(ends[0])} {number(y)}H{number(ends[1])}",
                class_=f"bar {style}",
                stroke_dasharray="1 7" if open_end else None,
            )
        )
        parts += [
            element("circle", cx=frame.x(value), cy=y + 9, r=2.2, class_=f"dot {style}")
            for value in row.seeds
            if math.isfinite(value)
        ]
        parts.append(element("circle", cx=frame.x(found.mean), cy=y, r=5.0, class_=f"mark {style}"))
    parts.append(
        element(
            "text",
            metric.difference(found.mean, unit=False),
            x=WIDTH - 4.0,
            y=y + 4,
            text_anchor="end",
            class_="ink",
        )
    )
    return Markup("").join(parts)
