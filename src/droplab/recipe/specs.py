"""What an experiment is made of besides its data: model, arms and the schedules of their rates."""

from __future__ import annotations

from dataclasses import field
from typing import Any, cast

from pydantic import model_validator

from droplab.recipe._schedules import check_schedule
from droplab.recipe._spec import spec
from droplab.recipe._values import (
    Arguments,
    Filled,
    Label,
    Rates,
    check_import_path,
)


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
            "path": `rates` is about residual branches, by the layers that end them, "*" all.
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
