"""The reliability diagram: how often answers are right, against how sure the model was of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from droplab.report._frame import Frame, Ids, chart
from droplab.report._svg import element, number, polyline, shorten, spread_out
from droplab.report._theme import colour_class
from droplab.results import AnswersRow

Floats = NDArray[np.float64]

_LEAST = 0.005
"""A bin with a smaller share of the answers is not drawn: it is right or wrong by luck."""
_SMALLEST, _LARGEST = 2.0, 7.0
_TOP = 1.02


@dataclass(frozen=True)
class Reliability:
    """What one arm's answers are worth, over all its seeds.

    Args:
        name: The arm.
        place: Place of its colour.
        confidence: Mean confidence in each bin that has answers.
        accuracy: The share of them that is right.
        share: The share of all answers that is in it.
    """

    name: str
    place: int
    confidence: Floats
    accuracy: Floats
    share: Floats

    @classmethod
    def of(cls, name: str, place: int, rows: Sequence[AnswersRow]) -> Reliability | None:
        """Add up the answers of an arm's replicas; None if there are none."""
        counts = np.array([row.bins for row in rows], dtype=np.float64)
        if not counts.size or not counts[..., 0].sum():
            return None
        total = counts.sum(axis=0)
        there = total[:, 0] > 0
        n, confidence, correct = total[there].T
        return cls(name, place, confidence / n, correct / n, n / total[:, 0].sum())


def draw_reliability(ids: Ids, arms: Sequence[Reliability]) -> Markup:
    """Return the diagram of one arm or more; on the diagonal an arm is as sure as it is right."""
    shown = [(each, each.share >= _LEAST) for each in arms]
    low = min(
        (float(v) for each, kept in shown for v in (*each.confidence[kept], *each.accuracy[kept])),
        default=0.0,
    )
    low = max(0.0, np.floor(10 * (low - 0.02)) / 10)
    frame = Frame.of((low, _TOP), (low, _TOP))
    parts: list[str] = [
        frame.y_axis(percent=True),
        frame.x_axis("mean confidence, %", percent=True),
        element(
            "path",
            d=polyline([(frame.x(low), frame.y(low)), (frame.x(1.0), frame.y(1.0))]),
            class_="zero",
            stroke_dasharray="4 4",
        ),
    ]
    said: list[str] = []
    ends: list[tuple[Reliability, float, float]] = []
    for each, kept in shown:
        style = colour_class(each.place)
        x, y, share = each.confidence[kept], each.accuracy[kept], each.share[kept]
        points = [(frame.x(a), frame.y(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        parts.append(element("path", d=polyline(points), class_=f"line {style}"))
        for (a, b), part in zip(points, share.tolist(), strict=True):
            radius = max(_SMALLEST, _LARGEST * part**0.5)
            parts.append(element("circle", cx=a, cy=b, r=radius, class_=f"mark {style}"))
        if points:
            ends.append((each, *points[-1]))
        texts = [
            f"{100 * right:.0f} % right at {100 * sure:.0f} % ({100 * part:.0f} %)"
            for sure, right, part in zip(x.tolist(), y.tolist(), share.tolist(), strict=True)
        ]
        said.append(f"{each.name}: {', '.join(texts)}")
    places = spread_out([y for *_, y in ends], 14.0, frame.top, frame.bottom)
    for (each, x, y), moved in zip(ends, places, strict=True):
        style = colour_class(each.place)
        path = f"M{number(x + 8)} {number(y)}L{number(frame.right + 9)} {number(moved)}"
        parts.append(element("path", d=path, class_=f"leader {style}"))
        label = shorten(each.name, 14)
        parts.append(
            element("text", label, x=frame.right + 12, y=moved + 4, class_=f"label {style}")
        )
    return chart(
        ids,
        "Reliability: right answers, %",
        "How often answers are right, against how sure the model was, of all seeds; in brackets "
        f"the share of answers. {'; '.join(said)}.",
        *parts,
        note="by mean confidence; larger dots: more answers; below the line: too sure",
    )
