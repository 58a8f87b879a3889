"""An arm of a study put into a model that somebody's loop trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from droplab import placement
from droplab.errors import ArgumentError, PlacementError, RunError
from droplab.ops import mask_key
from droplab.placement import Applied, OwnDropout, is_branch
from droplab.recipe import Recipe
from droplab.studies._arms import kind_of_inputs, rate_of_step
from droplab.train import RateOfStep


class ArmsError(PlacementError):
    """An arm of the study means nothing in the model that its loop trains."""


@dataclasses.dataclass
class Placed:
    """One model of a trial, at work.

    Attributes:
        model: The model.
        applied: The handle on its sites.
        rates: The rates of the arm, site -> probability of dropping; sites of other arms at 0.
        existing: The rates of dropout of its own that the arm changes.
        own: The rates of its own dropout as it was built.
        schedule: How the rates change with the step; None if they do not.
        calls: How often it was called in training mode.
        without_gradients: How often of these without gradients, as if to measure it.
    """

    model: nn.Module
    applied: Applied
    rates: Mapping[str, float]
    existing: Mapping[str, float]
    own: Mapping[str, float]
    schedule: RateOfStep | None
    calls: int = 0
    without_gradients: int = 0

    def follow(self, step: int) -> None:
        """Set the rates for a step of the optimizer, where they change with it."""
        if self.schedule is not None:
            for index, planned in enumerate(self.rates.values()):
                self.applied.p[index] = self.schedule(step, planned)

    def check_among(self, models: Iterable[nn.Module]) -> None:
        """Make sure that all parameters of this model are those of some models.

        Raises:
            RunError: If some are not.
        """
        there = {id(each) for model in models for each in model.parameters()}
        if not {id(each) for each in self.model.parameters()} <= there:
            raise RunError(
                "checkpoint: expected the placed model among the parts, got none that has all its "
                "parameters; give it to trial.checkpoint as well"
            )

    def check_fired(self) -> None:
        """Make sure that what the arm asks for has happened.

        Raises:
            PlacementError: If a site never fired, or keeps another part than its rate says.
        """
        self.applied.check_fired()
        if self.schedule is None:
            self.applied.check_kept(self.rates)


def place(
    recipe: Recipe,
    arm: str,
    seed: int,
    model: nn.Module,
    example: Any,
    number: int,
    seen: Callable[[Any, Any], None],
) -> Placed:
    """Make a model that of an arm: every arm has the same sites, at p = 0 where it has none.

    Args:
        recipe: The study.
        arm: Name of the arm.
        seed: Seed of the trial.
        model: The model.
        example: A batch to run once; None for none.
        number: Which model of the trial it is, from 0.
        seen: Called with the arguments of each call into the model in training mode.

    Raises:
        ArmsError: If an arm, this one or another, means no site of the model, or a rate that is
            not there.
        PlacementError: If the model cannot be guarded.
    """
    if getattr(getattr(model, "dynamo_ctx", None), "fullgraph", False):
        raise PlacementError(
            "place: expected a model that its compiler may leave for the guard, got one compiled "
            "with fullgraph=True; leave fullgraph out"
        )
    wanted: dict[str, dict[str, float]] = {}
    order: dict[str, None] = {}
    for each in recipe.arms:
        wanted[each.name] = {}
        if not each.rates:
            continue
        try:
            plan = placement.plan(model, dict(each.rates), each.kind, example)
        except ArgumentError as error:
            raise ArmsError(f"arms.{each.name}: {error}") from error
        wanted[each.name] = dict(plan.rates)
        order |= dict.fromkeys(site.name for site in plan.sites)
    used = {site for rates in wanted.values() for site in rates}
    own = OwnDropout.of(model, example)
    existing: dict[str, dict[str, float]] = {}
    for each in recipe.arms:
        try:
            existing[each.name] = own.changes(each.existing)
        except PlacementError as error:
            raise ArmsError(f"arms.{each.name}.{error}") from error
    own.write(model, existing[arm])
    drawing = own.drawing(existing.values()) if example is not None else ()
    dropping = [entry.name for entry in own.entries if entry.what == "module"]
    mine, chosen = wanted[arm], recipe.arm(arm)
    rates = {site: mine.get(site, 0.0) for site in sorted(order, key=is_branch) if site in used}
    applied = placement.plan(model, rates, kind_of_inputs(chosen)).apply(
        own=tuple(dict.fromkeys((*dropping, *drawing)))
    )
    name = f"{number}" if number else ""
    applied.seed({stream: mask_key(seed, f"{name}{stream}") for stream in applied.streams})
    schedule = rate_of_step(chosen.schedule) if chosen.schedule is not None else None
    placed = Placed(model, applied, rates, existing[arm], own.rates, schedule)

    def called(args: Any, kwargs: Any) -> None:
        placed.calls += 1
        placed.without_gradients += not torch.is_grad_enabled()
        seen(args, kwargs)

    applied.guard(seed, name, called)
    placed.follow(0)
    return placed
