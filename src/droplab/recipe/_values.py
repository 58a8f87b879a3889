"""The types of a recipe's fields: what is checked for each, and in which words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from droplab.errors import ArgumentError, nearest, quote
from droplab.limits import COUNT, INTEGER, SEEDS, USUAL_FOLDS
from droplab.numeric import real, whole
from droplab.probability import check_p
from droplab.recipe._tasks import TASKS, TaskName
from droplab.rng import check_seed

_LABEL = re.compile(r"\w[\w .+,=@-]*")
_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_import_path(value: str) -> str:
    """Return `value` if it reads "package.module:name"."""
    if not _IMPORT.fullmatch(value):
        raise ValueError(
            f"expected an import path such as 'my_package.nets:Net', got {quote(value)}; "
            "put a colon between the module and the name in it"
        )
    return value


def _count(value: Any) -> int:
    count = whole(value)
    if count is None or not 1 <= count <= COUNT:
        wanted = "at least 1" if count is None or count < 1 else f"at most {COUNT}"
        raise ValueError(f"expected a whole number of {wanted}, got {quote(value)}")
    return count


def _folds(value: Any) -> Any:
    if value is None:
        return value
    number = USUAL_FOLDS if value is True else whole(value)
    if number is None or not 2 <= number <= SEEDS:
        raise ValueError(
            f"expected how many folds, a whole number from 2 to {SEEDS} or true for {USUAL_FOLDS}, "
            f"got {quote(value)}"
        )
    return number


def _seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds:
        raise ValueError("expected at least one seed, got none; [0, 1, 2, 3, 4, 5, 6, 7] is usual")
    if len(seeds) > SEEDS:
        raise ValueError(f"expected at most {SEEDS} seeds, got {len(seeds)}")
    twice = [str(seed) for seed, count in Counter(seeds).items() if count > 1]
    if twice:
        raise ValueError(
            f"expected different seeds, got {', '.join(twice)} more than once; the same seed is "
            "the same run, so it would count one result twice"
        )
    return seeds


def check_repeats(seeds: tuple[int, ...], folds: int, name: str) -> None:
    """Check that every repeat has all of its folds, one repeat after the other."""
    parts = [seeds[at : at + folds] for at in range(0, len(seeds), folds)]
    for part in parts:
        if len(part) < folds or len({seed // folds for seed in part}) > 1:
            raise ValueError(
                f"seeds: expected whole repeats of {name} = {folds}, the seeds 0 to "
                f"{folds - 1}, then {folds} to {2 * folds - 1} and so on (seed s is fold "
                f"s mod {folds} of repeat s div {folds}), got {len(seeds)} seeds, of which "
                f"{_some(part)} are no whole repeat; leave seeds out for one repeat"
            )


def _some(seeds: tuple[int, ...]) -> str:
    listed = ", ".join(map(str, seeds[:5]))
    return listed + (f" to {seeds[-1]}" if len(seeds) > 5 else "")


def _looks(value: Any) -> int:
    count = whole(value)
    if count not in (1, 2):
        raise ValueError(
            "expected how often the verdict is looked at, 1, or 2 for a second time after more "
            f"seeds, got {quote(value)}"
        )
    return count


def _scored(value: Any) -> Any:
    if value is None or value == "all":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            "expected how many training examples to score after each epoch, a whole number of at "
            f"least 1, or 'all', got {value!r}"
        )
    return value


def _task(value: Any) -> Any:
    if value is not None and (not isinstance(value, str) or value not in TASKS):
        raise ValueError(f"expected a task, got {quote(value)}{nearest(str(value), TASKS)}")
    return value


def _accumulated(value: Any) -> int | None:
    count = None if value is None else _count(value)
    return None if count == 1 else count  # one mini-batch a step is a step as it is without


def _precision(value: Any) -> Any:
    if value in (None, "bfloat16"):
        return value
    if value == "float32":
        return None
    if value == "float16":
        raise ValueError(
            "expected 'bfloat16', got 'float16', whose gradients vanish unless losses are scaled, "
            "which is not done here"
        )
    raise ValueError(f"expected 'bfloat16', got {quote(value)}; leave it out for float32")


def _label(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a name in quotes, got {quote(value)}")
    if len(value) > 64 or not _LABEL.fullmatch(value) or value != value.strip():
        raise ValueError(
            "expected a name of at most 64 letters, digits, spaces or any of . _ + , = @ -, "
            f"starting with a letter or digit, got {quote(value)}"
        )
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text in quotes, got {quote(value)}")
    return _encodable(value)


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected text that UTF-8 can hold, got {quote(value)}") from None
    return value


def _filled(value: Any) -> str:
    if not _text(value).strip():
        raise ValueError(f"expected some text, got {quote(value)}")
    return value


def _number(value: Any) -> float:
    number = real(value)
    if number is None or number != number:
        raise ValueError(f"expected a number, got {quote(value)}")
    if isinstance(number, int) and not -INTEGER <= number < INTEGER:
        raise ValueError(f"expected a whole number below 2**63, got {quote(value)}")
    return number


def _share(value: Any) -> float:
    number = _number(value)
    if not 0 < number < 1:
        raise ValueError(f"expected a share between 0 and 1, such as 0.05, got {quote(value)}")
    return number


def _size(value: Any) -> float:
    number = _number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"expected a number above 0, got {quote(value)}")
    return number


def _norm(value: Any) -> float:
    number = _number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"expected a norm above 0, got {quote(value)}; leave it out not to clip")
    return number


def _argument(value: Any) -> Any:
    """Return a keyword argument as a recipe keeps it: what TOML can write, lists as tuples."""
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, bool):
        return value
    if real(value) is not None:
        return _number(value)
    if isinstance(value, (list, tuple)):
        return tuple(_argument(item) for item in cast("list[Any]", value))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {_filled(key): _argument(item) for key, item in pairs}
    if value is None:
        raise ValueError("expected a value, got None, which TOML cannot write; leave the key out")
    raise ValueError(
        f"expected a string, number, true or false, list or table, got {quote(value)} "
        f"({type(value).__name__})"
    )


def _seed(value: Any) -> int:
    try:
        return check_seed(value)
    except ArgumentError as error:
        raise ValueError(str(error).removeprefix("seed: ")) from None


def _table(value: Any) -> Any:
    return dict(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else value


def _list(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, got {quote(value)}; write it in [brackets]")
    return tuple(cast("list[Any]", value))


AsTuple = BeforeValidator(_list)
Count = Annotated[int, PlainValidator(_count)]
Accumulated = Annotated[int | None, PlainValidator(_accumulated)]
Precision = Annotated[Literal["bfloat16"] | None, PlainValidator(_precision)]
Folds = Annotated[int | None, PlainValidator(_folds)]
Looks = Annotated[int, PlainValidator(_looks)]
Scored = Annotated[int | Literal["all"] | None, PlainValidator(_scored)]
OneTask = Annotated[TaskName | None, PlainValidator(_task)]
Label = Annotated[str, PlainValidator(_label)]
Text = Annotated[str, PlainValidator(_text)]
Filled = Annotated[str, PlainValidator(_filled)]
Number = Annotated[float, PlainValidator(_number)]
Norm = Annotated[float, PlainValidator(_norm)]
Share = Annotated[float, PlainValidator(_share)]
Size = Annotated[float, PlainValidator(_size)]
Seed = Annotated[int, PlainValidator(_seed)]
Seeds = Annotated[tuple[Seed, ...], AsTuple, AfterValidator(_seeds)]
Argument = Annotated[Any, PlainValidator(_argument)]
Arguments = Annotated[dict[Filled, Argument], BeforeValidator(_table)]
Rates = Annotated[
    dict[Filled, Annotated[float, PlainValidator(check_p)]],
    BeforeValidator(_table),
    Field(description="site -> drop probability"),
]
