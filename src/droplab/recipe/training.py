"""The parts of a recipe about training: optimizer, learning rate, loss and further metrics."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, model_validator

from droplab.errors import quote
from droplab.recipe._losses import LOSSES, check_loss
from droplab.recipe._metrics import TASKS, Measure
from droplab.recipe._spec import spec
from droplab.recipe._values import Arguments, Filled, Label, check_import_path

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


@spec
class OptimizerSpec:
    """Which optimizer of `torch.optim`, by name, and its arguments.

    In TOML the arguments stand beside the name: `name = "Adam"`, `lr = 0.001`.

    Example:
        >>> OptimizerSpec("SGD", {"lr": 0.1, "momentum": 0.9}).name
        'SGD'
    """

    name: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])


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
