"""Just enough SVG: elements with escaped text, a scale, ticks, and labels that do not collide."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

MINUS = "−"


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an element; children that are not Markup are escaped, and so are attributes.

    Attribute names lose a trailing underscore, and their other underscores become hyphens;
    attributes that are None are left out.

    Example:
        >>> element("text", "a < b", x=1.0, text_anchor="end", class_=None)
        Markup('<text x="1" text-anchor="end">a &lt; b</text>')
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>")


def _value(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return str(value)


def number(value: float) -> str:
    """Write a coordinate with one decimal, as short as it gets."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Return path data through the points; a NaN breaks the line."""
    parts: list[str] = []
    down = False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{'L' if down else 'M'}{number(x)} {number(y)}")
            down = True
        else:
            down = False
    return "".join(parts)


@dataclass(frozen=True)
class Scale:
    """A straight map from values to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values from `low` to `high`, about `count` of them.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def tick_texts(values: Sequence[float], *, percent: bool = False) -> list[str]:
    """Write tick values with as many decimals as tell them apart, the same for all.

    Numbers with too many digits for the margin share a power of ten.

    Example:
        >>> tick_texts([0.5, 1.0]), tick_texts([0.0, 200_000.0, 400_000.0])
        (['0.5', '1.0'], ['0', '2e5', '4e5'])
    """
    shown = [100 * value for value in values] if percent else list(values)
    gaps = [b - a for a, b in itertools.pairwise(shown)]
    step = min(gaps, default=1.0)
    largest = max(map(abs, shown), default=0.0)
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    if not percent and not -5 < power < 5:
        parts = tick_texts([value / 10.0**power for value in shown])
        end = f"e{power}".replace("-", MINUS)
        return [f"{text}{end}" if value else "0" for text, value in zip(parts, shown, strict=True)]
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    return [f"{value:.{places}f}".replace("-", MINUS) for value in shown]


def bounds(values: Iterable[float], *, pad: float = 0.05) -> tuple[float, float]:
    """Return the range of the finite values with some air around it."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = (high - low) * pad or abs(high) * 0.1 or 1.0
    return low - air, high + air


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart so that neighbours keep `gap`, as little as that takes, within bounds.

    Example:
        >>> spread_out([10.0, 11.0, 50.0], 10.0, 0.0, 100.0)
        [5.5, 15.5, 50.0]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    blocks: list[tuple[float, list[int]]] = []  # (top of the block, its labels)
    for i in order:
        top, block = _clamped(places[i], [i], gap, low, high), [i]
        while blocks and blocks[-1][0] + gap * len(blocks[-1][1]) > top + 1e-9:
            _, before = blocks.pop()
            block = before + block
            wanted = sum(places[j] - gap * k for k, j in enumerate(block)) / len(block)
            top = _clamped(wanted, block, gap, low, high)
        blocks.append((top, block))
    moved = list(places)
    for top, block in blocks:
        for k, i in enumerate(block):
            moved[i] = top + gap * k
    return moved


def _clamped(top: float, block: Sequence[int], gap: float, low: float, high: float) -> float:
    return max(low, min(top, high - gap * (len(block) - 1)))


def shorten(text: str, length: int) -> str:
    """Return the text, cut with an ellipsis if it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
