"""The parts of a recipe about training: optimizer, learning rate, loss and further metrics."""

from __future__ import annotations

import math
import re
from dataclasses import field
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, PlainValidator, model_validator

from droplab.errors import quote
from droplab.limits import COUNT
from droplab.numeric import real, whole
from droplab.recipe._losses import LOSSES, check_loss
from droplab.recipe._metrics import Measure
from droplab.recipe._spec import spec
from droplab.recipe._tasks import TASKS
from droplab.recipe._values import Arguments, Filled, Label, check_import_path

NORMS_AND_BIASES = "norms and biases"
"""What a group is called that has them all, whatever their names are."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _identifier(value: Any) -> Any:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            "expected a name of at most 40 small letters, digits and _, starting with a letter, "
            f"got {quote(value)}"
        )
    return value


def _better(value: Any) -> Any:
    if value not in ("higher", "lower", None):
        raise ValueError(f"expected 'higher' or 'lower', got {quote(value)}")
    return value


def _unit(value: Any) -> Any:
    if value not in ("", "%"):
        raise ValueError(f"expected '%' or nothing, got {quote(value)}")
    return value


def _every(value: Any) -> Any:
    if value not in (None, "step", "epoch"):
        raise ValueError(f"expected 'step' or 'epoch', got {quote(value)}")
    return value


def _patience(value: Any) -> Any:
    number = whole(value)
    if number is None or not 0 <= number <= COUNT:
        raise ValueError(
            f"expected after how many epochs without a gain to stop, a whole number from 0 to "
            f"{COUNT}, got {quote(value)}; 0 looks at all epochs"
        )
    return number


def _min_gain(value: Any) -> Any:
    number = real(value)
    if number is None or not 0 <= number < math.inf:
        raise ValueError(
            f"expected by how much an epoch must be better to count, 0 or more, got {quote(value)}"
        )
    return float(number)


def _match(value: Any) -> Any:
    given: Any = value
    patterns = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [value]
    if not patterns or not all(isinstance(each, str) and each.strip() for each in patterns):
        raise ValueError(
            "expected a pattern over the names of parameters, such as '*.bias', a list of them, or "
            f"'{NORMS_AND_BIASES}', got {quote(given)}"
        )
    return tuple(patterns)


@spec
class GroupSpec:
    """Parameters for which an optimizer has arguments of their own.

    In TOML they stand in `[[optimizer.groups]]`: `match = "*.bias"`, `weight_decay = 0.0`.

    Args:
        match: Patterns over the names of the model's parameters, such as "*.bias"; or
            `NORMS_AND_BIASES`, every parameter of at most one dimension (biases, and the scales of
            norms) and all those of normalisation layers.
        arguments: Keyword arguments of the optimizer that are others for these.

    Raises:
        RecipeError: If there is no pattern, or no argument.

    Example:
        >>> GroupSpec("*.bias", {"weight_decay": 0.0}).match
        ('*.bias',)
    """

    match: Annotated[tuple[str, ...], PlainValidator(_match)]
    arguments: Arguments = field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _check(self) -> GroupSpec:
        if not self.arguments:
            raise ValueError(
                "expected an argument that is another one for this group, such as lr or "
                "weight_decay, got none"
            )
        return self

    def __str__(self) -> str:
        """Write the patterns for people."""
        return ", ".join(f"'{each}'" for each in self.match)


def _groups(value: Any) -> Any:
    if value is not None and not isinstance(value, (list, tuple)):
        raise ValueError(
            f"expected a list of tables, got {quote(value)}; write each as [[optimizer.groups]]"
        )
    return cast("Any", value) or None  # an empty list is as good as none


@spec
class OptimizerSpec:
    """Which optimizer of `torch.optim`, by name, and its arguments.

    In TOML the arguments stand beside the name: `name = "Adam"`, `lr = 0.001`.

    Args:
        name: Its class name.
        arguments: Its keyword arguments.
        groups: Parameters for which some of them are others; no two may share one.

    Example:
        >>> OptimizerSpec("SGD", {"lr": 0.1, "momentum": 0.9}).name
        'SGD'
    """

    name: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])
    groups: Annotated[tuple[GroupSpec, ...] | None, BeforeValidator(_groups)] = None


@spec
class SchedulerSpec:
    """How the learning rate changes: a scheduler of `torch.optim.lr_scheduler`, by name.

    In TOML the arguments stand beside the name, in `[scheduler]`: `name = "StepLR"`,
    `step_size = 10`.

    Args:
        name: Its class name.
        arguments: Its keyword arguments.
        every: Whether it is stepped after every optimizer "step" or after every "epoch"; None:
            "step" for OneCycleLR and CyclicLR, which count mini-batches, "epoch" for the others.

    Raises:
        RecipeError: If `every` is another word.

    Example:
        >>> SchedulerSpec("CosineAnnealingLR", {"T_max": 50}).unit
        'epoch'
        >>> SchedulerSpec("OneCycleLR", {"max_lr": 0.1}).unit
        'step'
    """

    name: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])
    every: Annotated[Literal["step", "epoch"] | None, PlainValidator(_every)] = None

    @property
    def unit(self) -> Literal["step", "epoch"]:
        """What the scheduler counts: "step" or "epoch"."""
        return self.every or ("step" if self.name in ("OneCycleLR", "CyclicLR") else "epoch")


@spec
class LossSpec:
    """Which loss, by name, and its arguments; in TOML they stand beside the name.

    Args:
        name: One of `LOSSES`; or an import path "module:function" of one's own, called as
            `loss(outputs, targets, **arguments)`, which gives one number for each example.
        arguments: "label_smoothing", "weight" (a list, a table by class, or "balanced") and
            "ignore_index" of "cross_entropy"; "delta" of "huber"; "q" of "pinball".

    Raises:
        RecipeError: If the name or an argument is unknown, or a value is impossible.

    Example:
        >>> LossSpec("cross_entropy", {"label_smoothing": 0.1}).tasks
        ('classification', 'tokens')
    """

    name: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _check(self) -> LossSpec:
        check_loss(self.name, self.arguments)
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it is a loss of; of one's own, all."""
        return LOSSES[self.name].tasks if self.name in LOSSES else tuple(TASKS)


@spec
class MetricSpec:
    """A metric beside those of the task, measured over a whole split after every epoch.

    Args:
        name: What rows call it, after "val_": one of `FURTHER`, or of one's own, in small letters.
        path: Of one's own, the import path "module:function" of a function, called as
            `function(outputs, targets)` with tensors on the CPU: outputs of all examples as the
            task has them (logits, predictions), and their targets. It returns one number.
        better: Of one's own, "higher" or "lower".
        label: Its name in a sentence; None: `name` with spaces.
        unit: "%" where the number is a fraction that is shown in per cent; "" else.

    Raises:
        RecipeError: If a value is impossible.

    Example:
        >>> MetricSpec("median_error", "my_package.metrics:median", "lower").measure.label
        'median error'
        >>> MetricSpec("brier").path is None
        True
    """

    name: Annotated[str, PlainValidator(_identifier)]
    path: Filled | None = None
    better: Annotated[Literal["higher", "lower"] | None, PlainValidator(_better)] = None
    label: Label | None = None
    unit: Annotated[Literal["", "%"], PlainValidator(_unit)] = ""

    @model_validator(mode="after")
    def _check(self) -> MetricSpec:
        if self.path is not None:
            check_import_path(self.path)
            if self.better is None:
                raise ValueError(f"{self.name}: expected better = 'higher' or 'lower', got nothing")
        elif self.better is not None or self.label is not None or self.unit:
            raise ValueError(
                f"{self.name}: expected the path of a function, 'my_package.metrics:function', to "
                "measure it by, got none; a metric of droplab's own has nothing but a name"
            )
        return self

    @property
    def measure(self) -> Measure:
        """What is measured, as data, of one's own."""
        label = self.label or self.name.replace("_", " ")
        return Measure(self.name, label, self.better == "higher", self.unit)


@spec
class StoppingSpec:
    """Which epoch early stopping keeps, by the metric that decides: see `stopped_epoch`.

    All epochs are trained, whatever it says: what is asked is where stopping would have ended.

    Args:
        patience: How many epochs may pass without a gain; 0: all epochs are looked at.
        min_gain: With patience, how much better than at the last gain an epoch must be, in the
            metric's own unit: 0.01 of an accuracy is a percentage point.

    Raises:
        RecipeError: If a value is impossible, or `min_gain` stands without `patience`.

    Example:
        >>> StoppingSpec(patience=5, min_gain=0.001).patience
        5
    """

    patience: Annotated[int, PlainValidator(_patience)] = 0
    min_gain: Annotated[float, PlainValidator(_min_gain)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> StoppingSpec:
        if self.min_gain and not self.patience:
            raise ValueError(
                f"expected min_gain only with patience above 0, got {quote(self.min_gain)} "
                "without: where all epochs are looked at, the best one is kept whatever its gain"
            )
        return self
