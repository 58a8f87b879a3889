"""The parts of a recipe: which data, which model, which optimizer, and the arms."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import PlainValidator, model_validator

from droplab.errors import quote
from droplab.limits import COUNT, SEEDS
from droplab.numeric import real, whole
from droplab.recipe._losses import LOSSES, check_loss
from droplab.recipe._metrics import TASKS, Measure
from droplab.recipe._spec import spec
from droplab.recipe._values import (
    Arguments,
    Count,
    Filled,
    Label,
    Rates,
    check_import_path,
)

Format = Literal["npz", "npy", "idx", "images", "csv", "tsv", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
"""Formats of user data: what `DataSpec.format` may be; left out, the path tells."""


TABLE_KEYS = (
    *("target", "columns", "ignore", "categorical", "missing"),
    *("test", "groups", "time"),
)
"""What a recipe says of a table, beside the other keys of its data."""


_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _format(value: Any) -> Any:
    if value is not None and value not in FORMATS:
        raise ValueError(f"expected one of {', '.join(FORMATS)}, got {quote(value)}")
    return value


def _validation(value: Any) -> Any:
    if value is None or value == "test":
        return value
    number = real(value)
    if number is not None and (
        0 < number < 1 or (isinstance(number, int) and 1 <= number <= COUNT)
    ):
        return number
    raise ValueError(
        "expected how many training examples to set aside, a whole number of at least 1, a "
        f"fraction of them, or 'test' for the test split, got {quote(value)}"
    )


def _folds(value: Any) -> Any:
    if value is None:
        return value
    number = whole(value)
    if number is None or not 2 <= number <= SEEDS:
        raise ValueError(
            f"expected how many folds, a whole number from 2 to {SEEDS}, got {quote(value)}; 10 is "
            "usual"
        )
    return number


def _in_memory(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError(f"expected 'auto', true or false, got {quote(value)}")


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
class DataSpec:
    """Which data an experiment trains and validates on: one of `name`, `path` and `function`.

    Args:
        name: A data set that droplab knows, e.g. "fashion-mnist".
        path: A file or folder of the user's, relative to the working directory.
        function: Import path of a function that returns map-style data sets.
        arguments: Keyword arguments of `function`, or what `path` leaves open; of a table
            `TABLE_KEYS`, which in TOML stand beside the path.
        format: Format of `path`, one of `FORMATS`; None: the path tells.
        train: Train on the first `train` training examples; None: on all that are left.
        validation: Validate on the `validation` training examples that follow them (with `train`
            None: on the last ones); a fraction counts as so many of them; or "test": on the
            test split, which leaves no test split for the end. None: on the data's own validation
            split if it has one, else as "test"; of a table, on a fifth of its rows.
        folds: Cross-validate in so many folds of the training examples (with `train`, of the first
            so many), drawn anew for every repeat: seed s validates on fold s mod `folds` of repeat
            s div `folds` and trains on the others. None: no folds.
        in_memory: Keep the data as tensors (True), stream it (False), or "auto": in memory if it
            fits and its items come out equal twice.

    Raises:
        RecipeError: If a value is impossible, or not exactly one source is given.

    Example:
        >>> DataSpec(name="fashion-mnist", train=6000, validation=10000).source
        'fashion-mnist'
        >>> DataSpec(name="digits", path="digits.npz", validation="test")
        Traceback (most recent call last):
        droplab.errors.RecipeError: DataSpec: expected exactly one of ..., got name and path
    """

    name: Filled | None = None
    path: Filled | None = None
    function: Filled | None = None
    arguments: Arguments = field(default_factory=dict[str, Any])
    format: Annotated[Format | None, PlainValidator(_format)] = None
    train: Count | None = None
    validation: Annotated[float | Literal["test"] | None, PlainValidator(_validation)] = None
    folds: Annotated[int | None, PlainValidator(_folds)] = None
    in_memory: Annotated[Literal["auto"] | bool, PlainValidator(_in_memory)] = "auto"

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        given = [key for key in ("name", "path", "function") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "expected exactly one of name, path and function, got "
                f"{' and '.join(given) or 'none of them'}"
            )
        if self.function is not None:
            check_import_path(self.function)
        if self.format is not None and self.path is None:
            raise ValueError(f"expected a format only with path, got format with {given[0]}")
        if self.arguments and self.name is not None:
            raise ValueError(
                f"expected arguments only with path or function, got {', '.join(self.arguments)}"
            )
        if self.folds is not None and self.validation is not None:
            raise ValueError(
                f"expected either folds or validation, got both: with {self.folds} folds every "
                "example is validated on, once a repeat; leave validation out"
            )
        if self.folds is not None and self.path is not None and "time" in self.arguments:
            raise ValueError(
                "expected either folds or time, got both: folds would train on later rows than "
                "they are validated on; leave folds out"
            )
        return self

    @property
    def source(self) -> str:
        """The name, path or function, whichever is given."""
        return self.name or self.path or self.function or ""


@spec
class ModelSpec:
    """Which model: "mlp", or an import path such as "my_package.nets:Net", and its arguments.

    In TOML the arguments stand beside the path: `path = "mlp"`, `hidden = [256, 128]`.

    Example:
        >>> ModelSpec("mlp", {"in_features": 784, "hidden": [256, 128]}).arguments["hidden"]
        (256, 128)
    """

    path: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _check(self) -> ModelSpec:
        if not self.path.isidentifier():
            check_import_path(self.path)
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each layer of the built-in network, the input first; empty for any other.

        Example:
            >>> ModelSpec("mlp", {"in_features": 64, "hidden": [32]}).widths
            (64, 32, 10)
            >>> ModelSpec("nets:Net").widths
            ()
        """
        known: dict[str, Any] = {"in_features": None, "hidden": (256, 128), "classes": 10}
        if self.path != "mlp" or not set(self.arguments) <= set(known):
            return ()
        given = {**known, **self.arguments}
        if not isinstance(given["hidden"], (tuple, list)):
            return ()
        hidden = cast("list[Any]", given["hidden"])
        found: tuple[Any, ...] = (given["in_features"], *hidden, given["classes"])
        return found if all(isinstance(width, int) for width in found) else ()


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


@spec
class Arm:
    """One arm of an experiment: where dropout goes and at which rate. Nothing else may differ.

    Args:
        name: What reports call it.
        rates: Site -> probability of dropping. Empty, or all 0: the baseline.
        kind: "element", "channel", "locked" or "alpha" at every site; None: what suits each site.

    Raises:
        RecipeError: If a rate is no probability, or there is any other key.

    Example:
        >>> Arm("both", {"fc2": 0.3, "fc3": 0.3}).is_baseline
        False
        >>> Arm("none").is_baseline
        True
    """

    name: Label
    rates: Rates = field(default_factory=dict[str, float])
    kind: Filled | None = None

    @property
    def is_baseline(self) -> bool:
        """True if the arm drops nothing."""
        return not any(self.rates.values())
