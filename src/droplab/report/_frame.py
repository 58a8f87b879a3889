"""The frame that every chart stands in: title, description, axes and grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from droplab.report._svg import Scale, element, tick_texts, ticks

WIDTH, HEIGHT = 440, 270
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@dataclass
class Ids:
    """Gives every chart of a page its own ids."""

    prefix: str = "fig"
    _count: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def next(self) -> str:
        """Return a new id."""
        return f"{self.prefix}{next(self._count)}"


@dataclass(frozen=True)
class Frame:
    """The place of a chart's plot within its picture, with a scale for each axis."""

    x: Scale
    y: Scale

    @classmethod
    def of(
        cls,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        left: float = 44,
        right: float = 96,
        top: float = 34,
        bottom: float = 40,
        height: float = HEIGHT,
    ) -> Frame:
        """Return a frame with these ranges and margins."""
        return cls(
            Scale(*x_range, left, WIDTH - right),
            Scale(*y_range, height - bottom, top),
        )

    @property
    def left(self) -> float:
        """Left edge of the plot."""
        return self.x.start

    @property
    def right(self) -> float:
        """Right edge of the plot."""
        return self.x.end

    @property
    def top(self) -> float:
        """Upper edge of the plot."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """Lower edge of the plot."""
        return self.y.start

    def y_axis(self, *, percent: bool = False) -> Markup:
        """Return grid lines with their values."""
        at = ticks(self.y.low, self.y.high, 4)
        parts: list[str] = []
        for value, text in zip(at, tick_texts(at, percent=percent), strict=True):
            y = self.y(value)
            parts.append(element("path", d=f"M{self.left:g} {y:.1f}H{self.right:g}", class_="grid"))
            parts.append(
                element("text", text, x=self.left - 6, y=y + 4, text_anchor="end", class_="tick")
            )
        return Markup("").join(parts)

    def x_axis(
        self,
        label: str,
        *,
        values: Sequence[float] | None = None,
        percent: bool = False,
        lines: bool = False,
    ) -> Markup:
        """Return the values along the lower edge and what they are."""
        at = list(values) if values is not None else ticks(self.x.low, self.x.high, 5)
        parts: list[str] = []
        for value, text in zip(at, tick_texts(at, percent=percent), strict=True):
            x = self.x(value)
            if lines:
                path = f"M{x:.1f} {self.top:g}V{self.bottom:g}"
                parts.append(element("path", d=path, class_="grid"))
            parts.append(
                element("text", text, x=x, y=self.bottom + 15, text_anchor="middle", class_="tick")
            )
        middle = (self.left + self.right) / 2
        parts.append(
            element(
                "text", label, x=middle, y=self.bottom + 32, text_anchor="middle", class_="note"
            )
        )
        return Markup("").join(parts)

    def clipped(self, ids: Ids, *parts: str) -> Markup:
        """Return the parts as far as they lie within the plot."""
        name = ids.next()
        window = element(
            "rect",
            x=self.left - 1,
            y=self.top - 1,
            width=self.right - self.left + 3,
            height=self.bottom - self.top + 2,
        )
        return Markup("").join(
            [
                element("clipPath", window, id=name),
                element("g", *parts, clip_path=f"url(#{name})"),
            ]
        )


def chart(
    ids: Ids, title: str, description: str, *parts: str, note: str = "", height: float = HEIGHT
) -> Markup:
    """Return a whole picture with its title, for eyes and for screen readers.

    Args:
        ids: Where its id comes from.
        title: What it shows; drawn as well.
        description: What there is to see, with the numbers.
        parts: What is drawn, back to front.
        note: A remark beside the title.
        height: Its height in its own units.
    """
    name = ids.next()
    heading = element("text", title, x=0.0, y=14.0, class_="name")
    remark = element("text", note, x=0.0, y=28.0, class_="note") if note else ""
    return element(
        "svg",
        element("title", title, id=f"{name}-t"),
        element("desc", description, id=f"{name}-d"),
        heading,
        remark,
        *parts,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
        font_family=FONT,
        xmlns="http://www.w3.org/2000/svg",
    )
