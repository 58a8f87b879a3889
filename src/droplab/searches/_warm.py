"""What earlier runs of a recipe tell a search before its first proposal."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from droplab import placement, results
from droplab.errors import DroplabError, RunError
from droplab.recipe import Arm, Recipe, differences
from droplab.results import RunResult
from droplab.searches._driver import mean, values_of
from droplab.searches._space import Choice, Space
from droplab.studies import Experiment
from droplab.train import initial_model


class Told(NamedTuple):
    """An arm of an earlier run, as a plan of the search.

    Args:
        choice: What makes it.
        arm: The arm.
        values: Metric -> mean over the seeds of that run.
        seeds: How many these are.
        source: The run's folder.
    """

    choice: Choice
    arm: Arm
    values: dict[str, float]
    seeds: int
    source: str


def told_by(
    folders: Sequence[Path], experiment: Experiment, space: Space, objective: Sequence[str]
) -> tuple[list[Told], set[int]]:
    """Return what earlier runs measured of plans in the space, and the seeds that they had.

    Raises:
        RunError: If a run is of another experiment, or no arm of it is in the space.
    """
    found: list[Told] = []
    seeds: set[int] = set()
    for folder in folders:
        result = results.load(folder)
        _check_same(result, experiment)
        seeds |= set(result.recipe.seeds)
        mine = _told(result, experiment, space, objective)
        if not mine:
            raise RunError(
                f"{folder}: no arm of this run is a plan of the space, so there is nothing to "
                "begin with; take a space with its sites and rates, or leave it out"
            )
        found += mine
    return found, seeds


def _told(
    result: RunResult, experiment: Experiment, space: Space, objective: Sequence[str]
) -> list[Told]:
    model = initial_model(experiment.build, experiment.recipe.seeds[0])
    found: list[Told] = []
    for name, rows in values_of(result).items():
        arm, values = result.recipe.arm(name), mean(rows)
        if not all(math.isfinite(values.get(each, math.nan)) for each in objective):
            continue
        rates: dict[str, float] = {}
        if arm.rates:
            try:
                rates = dict(placement.plan(model, dict(arm.rates), kind=arm.kind).rates)
            except DroplabError:  # of residual branches, which no search has
                continue
        if not {name for name, p in rates.items() if p} <= set(space.places):
            continue
        choice = space.choice(arm, rates)
        if choice is not None:
            found.append(Told(choice, arm, values, len(rows), str(result.path)))
    return found


def _check_same(result: RunResult, experiment: Experiment) -> None:
    recipe = experiment.recipe
    before = _bare(result.recipe, recipe)
    if before.digest != recipe.digest:
        listed = "; ".join(
            f"{each.key}: it has {each.before}, the search {each.after}"
            for each in differences(before, recipe)[:5]
        )
        raise RunError(
            f"{result.path}: is a run of another experiment ({listed}); its numbers would mislead "
            "the search. Take a run of this recipe, or leave it out"
        )
    known = json.loads(result.notes.get("data", "{}")).get("checksum")
    if known != experiment.dataset["checksum"]:
        raise RunError(
            f"{result.path}: was trained on other data (checksum {known}) than the search would be "
            f"({experiment.dataset['checksum']}); take a run on the same data, or leave it out"
        )


def _bare(recipe: Recipe, other: Recipe) -> Recipe:
    """Return a recipe with the arms, seeds and question of another one."""
    return dataclasses.replace(
        recipe,
        arms=other.arms,
        seeds=other.seeds,
        target=other.target,
        primary=other.primary,
        margin=other.margin,
        margin_size=other.margin_size,
        looks=other.looks,
    )
