"""Which data an experiment is on, and how it is divided."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import PlainValidator, model_validator

from droplab.errors import quote
from droplab.limits import COUNT
from droplab.numeric import real
from droplab.recipe._spec import spec
from droplab.recipe._values import (
    Arguments,
    Count,
    Filled,
    Folds,
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

UNIT_KEYS = ("groups", "time")
"""What a recipe says of how examples are drawn that a path or a function has."""


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


def _bool_or_none(value: Any) -> Any:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {quote(value)}")
    return value


def _true_or_none(value: Any) -> Any:
    return _bool_or_none(value) or None  # which no digest of earlier recipes knows


def _resample(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {quote(value)}")
    return value


def _in_memory(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError(f"expected 'auto', true or false, got {quote(value)}")


_LEAST_TO_STOP = 5
"""Folds from which on one of them is left for early stopping, if nobody says otherwise: of fewer,
too few examples would be left to train on."""


def stops_on_fold(said: bool | None, folds: int | None, primary: str) -> bool:
    """Whether early stopping has a fold of its own: as is said, or else where that is possible.

    Args:
        said: What a recipe says of it.
        folds: How many folds there are.
        primary: The metric that decides; one that training examples have a part in cannot.

    Example:
        >>> stops_on_fold(None, 10, "val_loss"), stops_on_fold(None, 3, "val_loss")
        (True, False)
    """
    if said is not None:
        return said
    can = primary.startswith("val_") and primary != "val_nll"
    return can and folds is not None and folds >= _LEAST_TO_STOP


@spec
class DataSpec:
    """Which data an experiment trains and validates on: one of `name`, `path` and `function`.

    Args:
        name: A data set that droplab knows, e.g. "fashion-mnist".
        path: A file or folder of the user's, relative to the working directory.
        function: Import path of a function that returns map-style data sets.
        arguments: Keyword arguments of `function`, or what `path` leaves open; of a table
            `TABLE_KEYS`, which in TOML stand beside the path. "groups" and "time", of any path or
            function, say by what examples are drawn; no function gets them as arguments.
        format: Format of `path`, one of `FORMATS`; None: the path tells.
        train: Train on the first `train` training examples; None: on all that are left.
        validation: Validate on the `validation` training examples that follow them (with `train`
            None: on the last ones); a fraction counts as so many of them; or "test": on the
            test split, which leaves no test split for the end. None: on the data's own validation
            split if it has one, else as "test"; of a table, on a fifth of its rows.
        folds: Cross-validate in so many folds of the training examples (with `train`, of the first
            so many), drawn anew for every repeat: seed s validates on fold s mod `folds` of repeat
            s div `folds` and trains on the others. True: 10; None: no folds.
        stop_on_fold: With folds, early stopping chooses its epoch by the fold after the one that is
            validated on (after the last comes the first), which is then not trained on. None: a
            recipe decides it (`stops_on_fold`).
        stratify: Draw training and validation examples at random, each class in its share, instead
            of taking them as they stand; a table has them so anyway.
        resample: Draw the training and validation examples anew with each seed, without putting
            any back, the same for all arms; the test split stays. They come from the training
            examples: all of them, or `train` and `validation` of them.
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
    folds: Folds = None
    resample: Annotated[bool, PlainValidator(_resample)] = False
    stop_on_fold: Annotated[bool | None, PlainValidator(_bool_or_none)] = None
    in_memory: Annotated[Literal["auto"] | bool, PlainValidator(_in_memory)] = "auto"
    stratify: Annotated[Literal[True] | None, PlainValidator(_true_or_none)] = None

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
        if self.stop_on_fold and (self.folds is None or self.folds < 3):
            raise ValueError(
                "expected stop_on_fold with at least 3 folds, one to validate on, one to stop by "
                f"and others to train on, got {self.folds or 'none'}"
            )
        if self.folds is not None and self._has("time"):
            raise ValueError(
                "expected either folds or time, got both: folds would train on later rows than "
                "they are validated on; leave folds out"
            )
        self._check_drawn()
        self._check_resample()
        return self

    def _check_drawn(self) -> None:
        beside = [key for key in UNIT_KEYS if self._has(key)]
        asked = [*beside, *(["stratify"] if self.stratify else [])]
        if len(asked) > 1:
            raise ValueError(
                f"expected one way to draw examples at most, got {' and '.join(asked)}; keep one"
            )
        if self.stratify and (self.folds is not None or self.is_table):
            what = "a table" if self.folds is None else "folds"
            raise ValueError(
                f"expected no stratify with {what}, in which each class has its share anyway; "
                "leave it out"
            )
        if self.stratify and self.validation == "test" and self.train is None:
            raise ValueError(
                "expected stratify with examples to draw, got validation = 'test' and all training "
                "examples; give a number to validation or train, or leave it out"
            )

    def _has(self, key: str) -> bool:
        return self.name is None and key in self.arguments

    @property
    def draws(self) -> bool:
        """Whether examples are drawn in a way that the recipe names, other than as they stand."""
        return bool(self.stratify) or self._has("groups") or self._has("time")

    def _drawn_sentence(self, many: str) -> str:
        how = "each class in its share"
        for key, said in (("groups", "each {} whole"), ("time", "the latest by {}")):
            if self._has(key):
                how = said.format(self.arguments[key])
        train = "the others" if self.train is None else f"{self.train} others"
        if self.validation == "test":
            return f"trained on {train}, validated on the test split, drawn: {how}"
        some = "a fifth" if self.validation is None else many
        return f"validated on {some} of the training examples, drawn: {how}; trained on {train}"

    def _check_resample(self) -> None:
        if not self.resample:
            return
        if self.folds is not None:
            raise ValueError(
                "expected either folds or resample, got both: folds are drawn anew for every "
                "repeat already; leave resample out"
            )
        if self._has("time"):
            raise ValueError(
                "expected either time or resample, got both: examples that are drawn would train "
                "on later rows than they are validated on; leave resample out"
            )
        if self.validation == "test" or (self.validation is None and not self.is_table):
            raise ValueError(
                "expected with resample how many training examples to validate on, in "
                f"data.validation, got {quote(self.validation) if self.validation else 'nothing'}: "
                "a split of its own stays as it is; give a number or a fraction"
            )

    @property
    def is_table(self) -> bool:
        """Whether the data are a table, whose rows are drawn when it is read."""
        return "target" in self.arguments and self.path is not None

    @property
    def of_seed(self) -> bool:
        """Whether each seed has examples of its own."""
        return self.folds is not None or self.resample

    @property
    def source(self) -> str:
        """The name, path or function, whichever is given."""
        return self.name or self.path or self.function or ""

    @property
    def _held_sentence(self) -> str:
        return " and stopped early by the next one" if self.stop_on_fold else ""

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
        each = " anew with each seed" if self.resample else ""
        many = f"{100 * count:g} %" if isinstance(count, float) and count < 1 else str(count)
        if self.is_table:
            target = self.arguments["target"]
            several = cast("tuple[Any, ...]", target) if isinstance(target, tuple) else (target,)
            columns = ", ".join(map(str, several))
            rows = "the test rows" if count == "test" else f"{many} rows"
            if self.folds is not None:
                rows = f"one of {self.folds} folds of rows"
            elif count is None:
                rows = "rows"
            drawn = f"that are drawn{each}{self._held_sentence}"
            return f"{self.source}: {columns}, validated on {rows} {drawn}"
        if self.draws and not self.of_seed:
            return f"{self.source}: {self._drawn_sentence(many)}"
        train = "all the training examples" if self.train is None else f"the first {self.train}"
        if self.folds is not None:
            held = self._held_sentence
            validation = f"validated on one of {self.folds} folds of them{held} with each seed"
        elif count is None and self.name is None:
            validation = "validated on its own validation split, or else on its test split"
        elif count in (None, "test"):
            validation = "validated on the test split"
        elif self.resample:
            train = "the others of them" if self.train is None else f"{self.train} of them"
            return (
                f"{self.source}: {many} training examples to validate on and {train} to train on, "
                "drawn anew with each seed"
            )
        elif self.train is None:
            train = "the training examples"
            validation = f"without the last {many}, which it is validated on"
        else:
            validation = f"validated on the next {many}"
        return f"{self.source}: trained on {train}, {validation}"
