"""How the numbers of each metric are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from droplab import recipe
from droplab.errors import ArgumentError, nearest

MINUS = "−"


@dataclass(frozen=True, slots=True)
class WrittenMetric(recipe.Metric):
    """One metric with its numbers as people read them.

    Example:
        >>> metric("val_accuracy").text(0.8483), metric("val_accuracy").difference(0.0125)
        ('84.8 %', '+1.25 points')
        >>> metric("val_loss").text(0.4821), metric("val_loss").difference(-0.341)
        ('0.482', '−0.341')
    """

    def text(self, value: float) -> str:
        """Write a value."""
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else _signed(value, "", plus=False)
        if self.fraction:
            return f"{_fixed(100 * value, 1, plus=False)} {self.unit}"
        return _fixed(value, _places(value), plus=False)

    def exact(self, value: float) -> str:
        """Write a value with all its digits: the bound of a target, say.

        Example:
            >>> metric("val_accuracy").exact(0.85), metric("val_accuracy").exact(0.8496)
            ('85.0 %', '84.96 %')
        """
        return self._shortest(value, lambda text: _side(_number(text), self._scaled(value)) == 0)

    def beside(self, value: float, bound: float) -> str:
        """Write a value with so many digits that it is on the same side of `bound` as it is.

        Example:
            >>> metric("val_accuracy").beside(0.8496, 0.85)
            '84.96 %'
        """
        side = _side(value, bound)
        return self._shortest(value, lambda text: _side(_number(text), self._scaled(bound)) == side)

    def apart(self, value: float, other: float) -> tuple[str, str]:
        """Write two values with so many digits that they differ, if they do.

        Example:
            >>> metric("val_loss").apart(0.8061, 0.8064), metric("val_loss").apart(0.8, 0.9)
            (('0.8061', '0.8064'), ('0.800', '0.900'))
        """
        usual = self.text(value), self.text(other)
        if _side(value, other) == 0:
            return usual
        pairs = ((self._at(value, n), self._at(other, n)) for n in range(18))
        return next((pair for pair in pairs if pair[0] != pair[1]), usual)

    def _scaled(self, value: float) -> float:
        return 100 * value if self.fraction else value

    def _at(self, value: float, more: int) -> str:
        """Write a value with so many digits more than usual."""
        text = self.text(value)
        if not math.isfinite(value):
            return text
        places = more + (1 if self.fraction else _places(value))
        _, space, unit = text.partition(" ")
        return _fixed(self._scaled(value), places, plus=False) + space + unit

    def _shortest(self, value: float, good: Callable[[str], bool]) -> str:
        """Write a value with as few digits as make a good text."""
        texts = (self._at(value, more) for more in range(18))
        return next(filter(good, texts), self.text(value))

    def spread(self, value: float) -> str:
        """Write a standard deviation, without its unit."""
        if not math.isfinite(value):
            return "–"
        return f"{100 * value:.2f}" if self.fraction else f"{value:.{_places(value)}f}"

    def size(self, value: float) -> str:
        """Write how large a difference is, without its sign."""
        if not math.isfinite(value):
            return "any size"
        if self.fraction:
            return f"{abs(100 * value):.2f} points"
        return f"{abs(value):.{_places(value, least=0.0005)}f}"

    def difference(self, value: float, *, unit: bool = True) -> str:
        """Write a difference with its sign."""
        if not math.isfinite(value):
            return _signed(value, "", plus=True)
        if self.fraction:
            return _fixed(100 * value, 2, plus=True) + (" points" if unit else "")
        return _fixed(value, _places(value, least=0.0005), plus=True)

    def interval(self, low: float, high: float) -> str:
        """Write an interval of differences."""
        unit = " points" if self.fraction else ""
        return f"{self.difference(low, unit=False)} to {self.difference(high, unit=False)}{unit}"

    def better(self, value: float, other: float) -> bool:
        """Return whether `value` is better than `other`."""
        return value > other if self.higher_is_better else value < other


def _number(text: str) -> float:
    """Read what `WrittenMetric` wrote; NaN for what is no finite number."""
    try:
        return float(text.partition(" ")[0].replace(MINUS, "-"))
    except ValueError:
        return math.nan


def _side(value: float, bound: float) -> int:
    """Return 1 above the bound, -1 below it, 0 at it up to rounding."""
    if math.isclose(value, bound, rel_tol=1e-9, abs_tol=1e-12):
        return 0
    return 1 if value > bound else -1


def _places(value: float, *, least: float = 0.01) -> int:
    """Return how many places show a number: three below one, four below `least`."""
    size = abs(value)
    if size >= 100:
        return 0
    if size >= 10:
        return 1
    if size >= 1:
        return 2
    return 3 if size >= least or size == 0 else 4


def _fixed(value: float, places: int, *, plus: bool) -> str:
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return text
    return _signed(value, text, plus=plus)


def _signed(value: float, text: str, *, plus: bool) -> str:
    if math.isnan(value):
        return "not a number"
    sign = MINUS if value < 0 else "+" if plus else ""
    return sign + (text or "∞")


METRICS = {name: WrittenMetric(**asdict(each)) for name, each in recipe.METRICS.items()}
TEST_METRICS = {name: WrittenMetric(**asdict(each)) for name, each in recipe.TEST_METRICS.items()}


def metric(name: str) -> WrittenMetric:
    """Return how the metric called `name` is read.

    Raises:
        ArgumentError: If there is no such metric.
    """
    if name not in METRICS:
        raise ArgumentError(f"verdict: expected a metric, got '{name}'{nearest(name, METRICS)}")
    return METRICS[name]
