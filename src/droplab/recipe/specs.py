"""The parts of a recipe about what is compared: which data, which model, and the arms."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import PlainValidator, model_validator

from droplab.errors import quote
from droplab.limits import COUNT, SEEDS
from droplab.numeric import real, whole
from droplab.recipe._schedules import check_schedule
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
    *("test", "groups", "time", "weights"),
)
"""What a recipe says of a table, beside the other keys of its data."""


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

    @property
    def sentence(self) -> str:
        """What is trained on and what is validated on, in words, as far as the recipe tells.

        Example:
            >>> DataSpec("mnist", train=6000, validation=0.1).sentence
            'mnist: trained on the first 6000, validated on the next 10 %'
            >>> DataSpec(path="a.csv", arguments={"target": "price"}).sentence
            'a.csv: price, validated on rows that are drawn'
        """
        count = self.validation
        many = f"{100 * count:g} %" if isinstance(count, float) and count < 1 else str(count)
        if "target" in self.arguments and self.path is not None:
            target = self.arguments["target"]
            several = cast("tuple[Any, ...]", target) if isinstance(target, tuple) else (target,)
            columns = ", ".join(map(str, several))
            rows = "the test rows" if count == "test" else f"{many} rows"
            if self.folds is not None:
                rows = f"one of {self.folds} folds of rows"
            elif count is None:
                rows = "rows"
            return f"{self.source}: {columns}, validated on {rows} that are drawn"
        train = "all the training examples" if self.train is None else f"the first {self.train}"
        if self.folds is not None:
            validation = f"validated on one of {self.folds} folds of them with each seed"
        elif count is None and self.name is None:
            validation = "validated on its own validation split, or else on its test split"
        elif count in (None, "test"):
            validation = "validated on the test split"
        elif self.train is None:
            train = "the training examples"
            validation = f"without the last {many}, which it is validated on"
        else:
            validation = f"validated on the next {many}"
        return f"{self.source}: trained on {train}, {validation}"


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
class ScheduleSpec:
    """How the rates of an arm's sites change with the step: a schedule by name.

    The rate of a site is what the schedule leads to, as `p` (of "linear", as its end). In TOML the
    arguments stand beside the name: `schedule = { name = "early", steps = 500 }`.

    Args:
        name: One of `SCHEDULES`, as in `droplab.nn.schedules`.
        arguments: "steps" and "decay" of "early"; "start" of "late"; "steps" and "start" (a rate)
            of "linear"; "steps" and "sharpness" of "curriculum". Steps are optimizer steps.

    Raises:
        RecipeError: If the name or an argument is unknown, or a value is impossible.

    Example:
        >>> str(ScheduleSpec("early", {"steps": 500}))
        'early, steps 500'
    """

    name: Filled
    arguments: Arguments = field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _check(self) -> ScheduleSpec:
        check_schedule(self.name, self.arguments)
        return self

    def __str__(self) -> str:
        """Write it for people."""
        said = [f"{key} {str(value).lower()}" for key, value in self.arguments.items()]
        return ", ".join([self.name, *said])


@spec
class Arm:
    """One arm of an experiment: what drops, and at which rate. Nothing else may differ.

    Args:
        name: What reports call it.
        rates: Site -> probability of dropping, where dropout is added. A name may be a pattern:
            "*" is every hidden site.
        kind: "element", "channel", "locked" or "alpha" at every site; None: what suits each site.
        existing: Name -> probability of dropping, for dropout that the model has already, by the
            names that `droplab sites` prints; patterns such as "*.drop_path" are allowed.
        schedule: How the rates of the sites change with the step; None: they stay.

    Raises:
        RecipeError: If a rate is no probability, there is any other key, or a schedule without
            rates.

    Example:
        >>> Arm("both", {"fc2": 0.3, "fc3": 0.3}).is_baseline
        False
        >>> Arm("none").is_baseline
        True
    """

    name: Label
    rates: Rates = field(default_factory=dict[str, float])
    kind: Filled | None = None
    existing: Rates = field(default_factory=dict[str, float])
    schedule: ScheduleSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> Arm:
        if self.schedule is not None and not self.places:
            raise ValueError(
                "expected a schedule only with rates above 0, which it changes, got "
                f"'{self.schedule.name}' without; the rates of existing dropout do not change with "
                "the step"
            )
        return self

    @property
    def places(self) -> bool:
        """True if the arm adds dropout somewhere."""
        return any(self.rates.values())

    @property
    def is_baseline(self) -> bool:
        """True if the arm leaves the model as it is."""
        return not self.places and not self.existing

    @property
    def drops_nothing(self) -> bool:
        """True if the arm has no rate above 0, of added or of existing dropout."""
        return not self.places and not any(self.existing.values())
