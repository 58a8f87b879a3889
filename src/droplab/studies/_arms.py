"""What the arms of a recipe mean on a model: sites, rates that it has already, and schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from droplab import placement
from droplab.errors import ArgumentError, PlacementError
from droplab.nn import schedules
from droplab.placement import OwnDropout, Plan, is_branch
from droplab.recipe import Arm, Recipe, ScheduleSpec
from droplab.train import RateOfStep

Rates = Mapping[str, Mapping[str, float]]
"""For each arm, name -> rate."""


def site_rates(
    recipe: Recipe, model: nn.Module, example: Any = None
) -> dict[str, dict[str, float]]:
    """The rates of every arm at every site that some arm uses, in the order of the model.

    Args:
        recipe: Its arms.
        model: The model.
        example: A batch to run once; without one, nothing is said of arms that drop residual
            branches, which only running the model shows.

    Raises:
        ArgumentError: If a rate matches no site.
    """
    chosen: dict[str, dict[str, float]] = {}
    order: dict[str, None] = {}
    for arm in recipe.arms:
        chosen[arm.name] = {}
        if not arm.rates or (drops_branches(arm) and example is None):
            continue
        try:
            # a kind of inputs is told by the layers alone, so that numbers rest on no example
            shown = example if drops_branches(arm) else None
            plan: Plan = placement.plan(model, dict(arm.rates), kind=arm.kind, example=shown)
        except ArgumentError as error:
            raise type(error)(f"arms.{arm.name}: {error}") from error
        chosen[arm.name] = dict(plan.rates)
        order |= dict.fromkeys(site.name for site in plan.sites)
    used = {site for rates in chosen.values() for site in rates}
    return {
        arm: {site: own.get(site, 0.0) for site in sorted(order, key=is_branch) if site in used}
        for arm, own in chosen.items()
    }


def drops_branches(arm: Arm) -> bool:
    """Say whether an arm drops residual branches, and not the inputs of layers."""
    return arm.kind == "path"


def kind_of_inputs(arm: Arm) -> str | None:
    """Return the kind of dropout at the inputs of layers; a branch is known by its name."""
    return None if drops_branches(arm) else arm.kind


@dataclasses.dataclass(frozen=True)
class Own:
    """What the model drops by itself, and what the arms make of it.

    Attributes:
        dropout: The model's own dropout.
        existing: For each arm, the rates that it changes.
        drawing: Paths of the modules that draw random numbers in some arm.
    """

    dropout: OwnDropout = dataclasses.field(default_factory=OwnDropout)
    existing: Rates = dataclasses.field(default_factory=dict[str, Mapping[str, float]])
    drawing: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, model: nn.Module, example: Any) -> Own:
        """Look at a model that runs on an example.

        Raises:
            PlacementError: If an arm changes a rate that is not there, or by which nothing drops.
        """
        asked = any(arm.existing for arm in recipe.arms)
        try:
            dropout = OwnDropout.of(model, example)
        except PlacementError:
            if asked:
                raise
            return cls()  # it trains as it is, and draws from the generator
        existing: dict[str, dict[str, float]] = {}
        for arm in recipe.arms:
            try:
                existing[arm.name] = dropout.changes(arm.existing)
                dropout.write(model, existing[arm.name])
            except PlacementError as error:
                hint = _site_hint(arm.existing, str(error), model)
                raise PlacementError(f"arms.{arm.name}.{error}{hint}") from error
        return cls(dropout, existing, dropout.drawing(existing.values()))

    def rates(self, arm: str) -> dict[str, float]:
        """Return what drops by itself in an arm: name -> rate above 0."""
        changed = {**self.dropout.rates, **self.existing.get(arm, {})}
        return {name: p for name, p in changed.items() if p > 0 and name in self.dropout.rates}

    def write(self, model: nn.Module, arm: str) -> None:
        """Give a model the rates of an arm."""
        self.dropout.write(model, self.existing.get(arm, {}))


def _site_hint(existing: Mapping[str, float], error: str, model: nn.Module) -> str:
    names = [site.name for site in placement.sites(model)]
    meant = [name for name in existing if name in names and f"'{name}' matches no" in error]
    return f"; '{meant[0]}' is a site, where rates adds dropout" if meant else ""


def rate_of_step(schedule: ScheduleSpec) -> RateOfStep:
    """Return the rate of a site as a function of the step and of the rate that its arm plans.

    Example:
        >>> rate = rate_of_step(ScheduleSpec("early", {"steps": 500}))
        >>> rate(499, 0.3), rate(500, 0.3)
        (0.3, 0.0)
    """
    function = getattr(schedules, schedule.name)
    given = dict(schedule.arguments)
    if schedule.name == "linear":
        given.setdefault("start", 0.0)
    to = "end" if schedule.name == "linear" else "p"

    def rate(step: int, p: float) -> float:
        # a site where the arm has none is there for the other arms
        return function(step, **{to: p}, **given) if p > 0 else 0.0

    return rate
