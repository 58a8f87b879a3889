"""How the numbers of each metric are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain

from droplab import recipe
from droplab.errors import ArgumentError, nearest
from droplab.results import RunResult, SearchRecord
from droplab.verdict._notes import stored_data, validated_on

MINUS = "−"
_LARGE, _SMALL = 1e6, 0.001
"""Numbers from here on, and smaller ones than this, are written with a power of ten."""
_FRESH = {"fresh test": "test", "fresh": "fresh validation"}
"""What examples are called that a search never scored, by where they are from."""
_NOISE = 1e-12
"""A number below this is what rounding left over: it is written as one that is about 0."""


@dataclass(frozen=True, slots=True)
class WrittenMetric(recipe.Metric):
    """One metric with its numbers as people read them.

    Args:
        plain: Whether its numbers are never written with a power of ten: what four places do not
            show of a cross entropy is nothing, but may be all that there is of a squared error.

    Example:
        >>> accuracy = WrittenMetric("val_accuracy", "accuracy", True, "%", "validation")
        >>> accuracy.text(0.8483), accuracy.difference(0.0125)
        ('84.8 %', '+1.25 points')
        >>> loss = WrittenMetric("val_loss", "validation loss", False, "", "validation")
        >>> loss.text(0.4821), loss.difference(-0.341), loss.text(2.1e9)
        ('0.482', '−0.341', '2.10e9')
    """

    plain: bool = False

    @property
    def bare(self) -> str:
        """Its label without the name of the split that it is measured on."""
        return self.label.removeprefix("validation ").removeprefix("test ")

    def on(self, split: str) -> str:
        """Return its label with another name for the validation examples."""
        named = self.label != self.bare and self.split == "validation"
        return f"{split} {self.bare}" if named else self.label

    @property
    def title(self) -> str:
        """Its label where a sentence begins; "RMSE" and "R²" keep their capitals."""
        return self.label[:1].upper() + self.label[1:]

    def text(self, value: float) -> str:
        """Write a value."""
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else _signed(value, "", plus=False)
        if self.fraction:
            return f"{_fixed(100 * value, 1, plus=False)} {self.unit}"
        return self._sized(value, _places(value), plus=False)

    def exact(self, value: float) -> str:
        """Write a value with all its digits: the bound of a target, say.

        Example:
            >>> accuracy = WrittenMetric("val_accuracy", "accuracy", True, "%", "validation")
            >>> accuracy.exact(0.85), accuracy.exact(0.8496)
            ('85.0 %', '84.96 %')
        """
        return self._shortest(value, lambda text: _side(_number(text), self._scaled(value)) == 0)

    def beside(self, value: float, bound: float) -> str:
        """Write a value with so many digits that it is on the same side of `bound` as it is.

        Example:
            >>> accuracy = WrittenMetric("val_accuracy", "accuracy", True, "%", "validation")
            >>> accuracy.beside(0.8496, 0.85)
            '84.96 %'
        """
        side = _side(value, bound)
        return self._shortest(value, lambda text: _side(_number(text), self._scaled(bound)) == side)

    def apart(self, value: float, other: float) -> tuple[str, str]:
        """Write two values with so many digits that they differ, if they do.

        Example:
            >>> loss = WrittenMetric("val_loss", "validation loss", False, "", "validation")
            >>> loss.apart(0.8061, 0.8064), loss.apart(0.8, 0.9)
            (('0.8061', '0.8064'), ('0.800', '0.900'))
        """
        usual = self.text(value), self.text(other)
        if _side(value, other) == 0:
            return usual
        pairs = ((self._at(value, n), self._at(other, n)) for n in range(18))
        return next((pair for pair in pairs if pair[0] != pair[1]), usual)

    def _sized(self, value: float, places: int, *, plus: bool) -> str:
        """Write a number that is no fraction."""
        size = abs(value)
        far = size >= _LARGE or _NOISE < size < _SMALL
        return (_with_power if far and not self.plain else _fixed)(value, places, plus=plus)

    def _scaled(self, value: float) -> float:
        return 100 * value if self.fraction else value

    def _at(self, value: float, more: int) -> str:
        """Write a value with so many digits more than usual."""
        text = self.text(value)
        if not math.isfinite(value):
            return text
        if not self.fraction:
            return self._sized(value, more + _places(value), plus=False)
        return f"{_fixed(100 * value, 1 + more, plus=False)} {self.unit}"

    def _shortest(self, value: float, good: Callable[[str], bool]) -> str:
        """Write a value with as few digits as make a good text."""
        texts = (self._at(value, more) for more in range(18))
        return next(filter(good, texts), self.text(value))

    def spread(self, value: float) -> str:
        """Write a standard deviation, without its unit."""
        if not math.isfinite(value):
            return "–"
        return (
            f"{100 * value:.2f}"
            if self.fraction
            else self._sized(value, _places(value), plus=False)
        )

    def size(self, value: float) -> str:
        """Write how large a difference is, without its sign."""
        if not math.isfinite(value):
            return "any size"
        if self.fraction:
            return f"{abs(100 * value):.2f} points"
        return self._sized(abs(value), _places(value, least=0.0005), plus=False)

    def difference(self, value: float, *, unit: bool = True) -> str:
        """Write a difference with its sign."""
        if not math.isfinite(value):
            return _signed(value, "", plus=True)
        if self.fraction:
            return _fixed(100 * value, 2, plus=True) + (" points" if unit else "")
        return self._sized(value, _places(value, least=0.0005), plus=True)

    def interval(self, low: float, high: float) -> str:
        """Write an interval of differences."""
        unit = " points" if self.fraction else ""
        return f"{self.difference(low, unit=False)} to {self.difference(high, unit=False)}{unit}"

    def change(self, value: float, low: float | None, high: float | None) -> str:
        """Write a difference, with its interval where there is one."""
        text = self.difference(value)
        return text if low is None or high is None else f"{text} ({self.interval(low, high)})"

    def better(self, value: float, other: float) -> bool:
        """Return whether `value` is better than `other`."""
        return value > other if self.higher_is_better else value < other


def stopped_name(name: str) -> str:
    """Return the name under which a verdict has a metric where replicas are stopped early.

    It has spaces, so that no metric of a recipe can be called so.
    """
    return f"{name} stopped early"


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


def _with_power(value: float, places: int, *, plus: bool) -> str:
    size = abs(value)
    mantissa, _, power = f"{size:.{places + (2 if size > 1 else -2)}e}".partition("e")
    sign = MINUS if size < 1 else ""
    return _signed(value, f"{mantissa}e{sign}{abs(int(power))}", plus=plus)


def _signed(value: float, text: str, *, plus: bool) -> str:
    if math.isnan(value):
        return "not a number"
    sign = MINUS if value < 0 else "+" if plus else ""
    return sign + (text or "∞")


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """The metrics of a run, with their names, labels, directions and units as the run has them.

    Args:
        epoch: What is measured after every epoch, by name.
        test: What is measured once, on the test split, by name; the score is the first.
        examples: What the examples are called on which arms are compared: "validation" as a rule;
            where a search never scored them, "test" or "fresh validation".

    Example:
        >>> from droplab.recipe import load
        >>> metrics = RunMetrics.of(load("digits"))
        >>> metrics.score.label, [each.name for each in metrics.compared]
        ('validation accuracy', ['val_loss', 'val_accuracy', 'gap', 'val_ece'])
    """

    epoch: Mapping[str, WrittenMetric]
    test: Mapping[str, WrittenMetric]
    examples: str = "validation"

    @classmethod
    def of(cls, run: recipe.Recipe | RunResult | SearchRecord) -> RunMetrics:
        """Return the metrics of a run or a search, or those that a run of a recipe will have."""
        epoch, test = (_by_name(each.values()) for each in (run.metrics, run.test_metrics))
        examples = "validation"
        if isinstance(run, RunResult):
            where = validated_on(run.recipe, stored_data(run.notes))
            examples = _FRESH.get(where, examples)
            own = run.recipe.loop is not None  # its names of metrics tell their split
            epoch = epoch if own or examples != "test" else _renamed(epoch)
        if not cls(epoch, test).score.fraction:
            return cls(epoch, test, examples)
        # where the score counts what is right, the loss is a cross entropy
        epoch, test = (
            {n: replace(m, plain=True) for n, m in each.items()} for each in (epoch, test)
        )
        return cls(epoch, test, examples)

    @property
    def fresh(self) -> bool:
        """Whether the examples are those that a search never scored."""
        return self.examples in _FRESH.values()

    def with_stopped(self, primary: WrittenMetric) -> RunMetrics:
        """Return the same with the metric that decides where replicas are stopped early, beside it.

        Example:
            >>> from droplab.recipe import load
            >>> metrics = RunMetrics.of(load("digits"))
            >>> [each.label for each in metrics.with_stopped(metrics.loss).compared][:2]
            ['validation loss', 'validation loss, stopped early']
        """
        early = replace(
            primary, name=stopped_name(primary.name), label=f"{primary.label}, stopped early"
        )
        epoch: dict[str, WrittenMetric] = {}
        for name, metric in self.epoch.items():
            epoch |= {name: metric} | ({early.name: early} if name == primary.name else {})
        return replace(self, epoch=epoch)

    def named(self, name: str) -> WrittenMetric:
        """Return the metric called `name`.

        Raises:
            ArgumentError: If the run has no such metric.
        """
        if name not in self.epoch:
            raise ArgumentError(
                f"verdict: expected a metric, got '{name}'{nearest(name, self.epoch)}"
            )
        return self.epoch[name]

    def condition(self, text: str) -> str:
        """Return a condition of a search with the label of its metric.

        Example:
            >>> from droplab.recipe import load
            >>> RunMetrics.of(load("digits")).condition("val_loss < 0.5")
            'validation loss < 0.5'
        """
        name, _, bound = text.partition(" ")
        return f"{self.epoch[name].label} {bound}" if name in self.epoch else text

    @property
    def loss(self) -> WrittenMetric:
        """The validation loss; where nobody measured one, what decides, which is then the first."""
        return self.epoch.get("val_loss") or next(iter(self.epoch.values()))

    @property
    def score(self) -> WrittenMetric:
        """What people look at, on validation examples: the first metric of the test split."""
        return self.epoch.get(f"val_{next(iter(self.test), '')}", self.loss)

    @property
    def counts_right(self) -> bool:
        """Whether the score is the share of examples that are right, as a constant has one too."""
        # accuracy over labels or tokens has words of its own
        accuracy = recipe.METRICS["val_accuracy"]
        score = replace(self.score, label=self.score.on("validation"))
        return asdict(accuracy).items() <= asdict(score).items()

    def partner(self, primary: WrittenMetric) -> WrittenMetric:
        """Return what is shown beside the metric that decides: the score, or the loss beside it."""
        return self.loss if primary == self.score else self.score

    def training(self, metric: WrittenMetric, *, running: bool = False) -> WrittenMetric | None:
        """Return a validation metric on the training examples; None if it is not measured there."""
        name = "train_" + metric.name.removeprefix("val_") + ("_running" if running else "")
        return self.epoch.get(name)

    @property
    def compared(self) -> tuple[WrittenMetric, ...]:
        """All that is about validation examples: loss, score, gap, and the others."""
        both = (self.loss, self.score)
        beside = chain(*((each, self.epoch.get(stopped_name(each.name))) for each in both))
        first = [each for each in (*beside, self.epoch.get("gap")) if each]
        others = [each for each in self.epoch.values() if each.split == "validation"]
        return tuple(dict.fromkeys([*first, *others]))

    @property
    def score_on_training(self) -> tuple[WrittenMetric, ...]:
        """The score on the training examples, in eval mode and running, as far as they are."""
        both = (self.training(self.score), self.training(self.score, running=True))
        return tuple(each for each in both if each)


def _renamed(metrics: Mapping[str, WrittenMetric]) -> dict[str, WrittenMetric]:
    """Return the metrics of every epoch as they are called on the test split."""
    return {name: replace(each, label=each.on("test")) for name, each in metrics.items()}


def _by_name(metrics: Iterable[recipe.Metric]) -> dict[str, WrittenMetric]:
    return {each.name: WrittenMetric(**asdict(each)) for each in metrics}
