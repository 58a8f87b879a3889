"""What a recipe says of somebody's own training loop, which no recipe can make again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import PlainValidator

from droplab.errors import quote
from droplab.recipe._metrics import Metric
from droplab.recipe._spec import spec
from droplab.recipe._values import Folds, Label, Text

_NAME = re.compile(r"[A-Za-z_][\w ./-]{0,63}", re.ASCII)
_TAKEN = ("arm", "seed", "epoch", "seconds", "values")
"""What a row has beside its metrics."""


def _metrics(value: Any) -> dict[str, str]:
    found: Mapping[Any, Any] = {}
    if isinstance(value, Mapping):
        found = cast("Mapping[Any, Any]", value)
    if not found:
        raise ValueError(
            f"expected a name and 'lower' or 'higher' for each metric, got {quote(value)}; write "  # pyright: ignore[reportUnknownArgumentType]
            "{'val_loss': 'lower'} for example"
        )
    for name, better in found.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
            raise ValueError(
                "expected names of metrics of at most 64 letters, digits, spaces and _ . / -, none "
                f"of {', '.join(_TAKEN)}, got {quote(name)}"
            )
        if better not in ("lower", "higher"):
            raise ValueError(
                f"{name}: expected 'lower' or 'higher', which of its values are better, got "
                f"{quote(better)}"
            )
    return dict(found)


@spec
class LoopSpec:
    """A training loop of somebody's own, whose trials report what they measured.

    Args:
        train: Where the loop stands, for people: "train.py:train" for example.
        metrics: Name of what is reported after every epoch -> "lower" or "higher", what is better.
        baseline: The arm to compare with; None: the one without rates. Where nobody says at which
            rates arms drop, none has any.
        folds: That a seed is one of so many folds of a cross-validation, as with `data.folds`;
            None: it is a run of its own.

    Raises:
        RecipeError: If there is no metric, or one is declared in another way.

    Example:
        >>> LoopSpec("train.py:train", {"val_rmse": "lower"}).measured("val_rmse")["val_rmse"].label
        'validation rmse'
    """

    train: Text
    metrics: Annotated[dict[str, Literal["lower", "higher"]], PlainValidator(_metrics)]
    baseline: Label | None = None
    folds: Folds = None

    def measured(self, primary: str) -> dict[str, Metric]:
        """Return the metrics by name, the one that decides first."""
        order = sorted(self.metrics, key=lambda name: name != primary)
        return {name: _metric(name, self.metrics[name] == "higher") for name in order}


def _metric(name: str, higher: bool) -> Metric:
    plain = name.removeprefix("metrics.")  # as MLflow has it
    split = "train" if plain.startswith("train") else "validation"
    first, _, rest = plain.replace("_", " ").replace("/", " ").partition(" ")
    label = " ".join([{"val": "validation", "train": "training"}.get(first, first), rest]).strip()
    return Metric(name, label, higher, "", split)
