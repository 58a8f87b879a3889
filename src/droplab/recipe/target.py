"""The target: what an arm has to reach, judged on the mean over seeds at the last epoch."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, PlainValidator, model_validator

from droplab.errors import nearest, quote
from droplab.recipe._metrics import metrics_of
from droplab.recipe._spec import spec
from droplab.recipe._tasks import TASKS, metric_names
from droplab.recipe._values import AsTuple, Number

Op = Literal[">=", "<=", ">", "<"]
_OPS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_ORDER = metric_names()
_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*(\S+)\s*")


def nearest_metric(name: str, own: Iterable[str] = ()) -> str:
    """Return what `nearest` does for these metrics and those of all tasks.

    One that begins so comes first.
    """
    known = tuple(dict.fromkeys((*own, *_ORDER)))
    return nearest(name, [each for each in known if each.startswith(name)] or known)


def check_metric(value: Any) -> Any:
    """Return `value` if it may be a metric; a recipe checks that it is one of its own."""
    if not isinstance(value, str) or not (value in _ORDER or value.startswith("val_")):
        raise ValueError(f"expected a metric, got {quote(value)}{nearest_metric(str(value))}")
    return value


def _op(value: Any) -> Any:
    if not isinstance(value, str) or value not in _OPS:
        raise ValueError(f"expected one of {', '.join(_OPS)}, got {quote(value)}")
    return value


MetricName = Annotated[str, PlainValidator(check_metric)]


@spec
class Condition:
    """One condition on one metric, e.g. val_accuracy >= 0.85.

    Example:
        >>> Condition("val_accuracy", ">=", 0.85).met(0.861)
        True
        >>> str(Condition("val_accuracy", ">=", 0.85))
        'val_accuracy >= 0.85'
    """

    metric: MetricName
    op: Annotated[Op, PlainValidator(_op)]
    value: Number

    @model_validator(mode="after")
    def _check(self) -> Condition:
        found = [metrics_of(each).get(self.metric) for each in TASKS.values()]
        known = [each for each in found if each]
        if known and all(each.fraction for each in known):
            self.check_fraction()
        return self

    def check_fraction(self) -> None:
        """Check that the value is a fraction, as the metric is.

        Raises:
            ValueError: If it is a percentage.
        """
        if abs(self.value) > 1:
            raise ValueError(
                f"expected a fraction in [0, 1] for {self.metric}, got {self.value:g}, which looks "
                f"like a percentage; did you mean {self.value / 100:g}?"
            )

    def met(self, value: float) -> bool:
        """Return whether `value` fulfils the condition; NaN never does."""
        return _OPS[self.op](value, self.value)

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.value:g}"


def parse_condition(metric: str, text: Any) -> Condition:
    """Return the condition that TOML writes as `metric = ">= 0.85"`.

    Raises:
        ValueError: If `text` is not a comparison with a number.
    """
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    try:
        if match:
            return Condition(metric, match[1], float(match[2]))  # pyright: ignore[reportArgumentType] # one of the four
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
    raise ValueError(f"expected a comparison such as '>= 0.85', got {quote(text)}")


def _order(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    if not conditions:
        raise ValueError("expected at least one condition, got none")
    return tuple(sorted(conditions, key=_place))


def _place(condition: Condition) -> tuple[int, str]:
    known = condition.metric in _ORDER
    return _ORDER.index(condition.metric) if known else len(_ORDER), condition.metric


@spec
class Target:
    """What an arm has to reach: all conditions, on the mean over seeds at the last epoch.

    In TOML: `[target]`, then `val_accuracy = ">= 0.85"`, one line a metric (a list of comparisons
    for two bounds). The conditions are kept in the order of the metrics.

    Example:
        >>> str(Target((Condition("train_accuracy_running", "<", 0.92),)))
        'train_accuracy_running < 0.92'
    """

    conditions: Annotated[tuple[Condition, ...], AsTuple, AfterValidator(_order)]

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))
