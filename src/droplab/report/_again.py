"""The command that makes a run again."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import replace

from droplab.recipe import Arm, Recipe, builtin_names, load
from droplab.results import RunResult

PLAN = "plan.json"
"""The file in a run's folder that holds its execution plan."""

SWEEP = "-sweep"
"""What the name of a sweep's recipe ends with."""
_SWEEP_SEEDS = 8
"""With fewer seeds in the recipe, a sweep that is not told otherwise takes this many."""


def command_of(result: RunResult) -> tuple[str, str]:
    """Return the command that makes a run again in the same way, and what has to be said with it.

    If the plan of the run lies in its folder, the command follows it: on a machine of the same
    kind, the run then comes out to the same bits.
    """
    line, note = command(result.recipe)
    if not (result.path / PLAN).is_file():
        return line, note
    said = (
        f"{PLAN} lies in the run's folder and says how its steps are executed: with it, a machine "
        "of the same kind and the same versions give the same bits"
    )
    return f"{line} --plan {PLAN}", f"{note}; {said}" if note else said


def command(recipe: Recipe) -> tuple[str, str]:
    """Return the command that makes the run again, and what has to be said with it.

    A command that names a built-in recipe is only returned if it means the very same recipe, by
    its digest.

    Example:
        >>> from droplab.recipe import load
        >>> from dataclasses import replace
        >>> command(replace(load("digits"), epochs=5))[0]
        'droplab run digits --epochs 5'
    """
    if recipe.name in builtin_names():
        builtin = load(recipe.name)
        same = replace(builtin, seeds=recipe.seeds, epochs=recipe.epochs)
        if same.digest == recipe.digest:
            return f"droplab run {recipe.name}{_changes(builtin, recipe)}", ""
    base = recipe.name.removesuffix(SWEEP)
    if base != recipe.name and base in builtin_names():
        builtin = load(base)
        for arms, options in _sweeps(recipe):
            same = replace(builtin, arms=arms, seeds=recipe.seeds, epochs=recipe.epochs)
            if same.digest == recipe.digest:
                changed = _changes(builtin, recipe, sweep=True)
                return f"droplab sweep {base}{options}{changed}", ""
    return (
        "droplab run recipe.toml",
        "with the recipe below, which lies as recipe.toml in the run's folder",
    )


def _changes(builtin: Recipe, recipe: Recipe, *, sweep: bool = False) -> str:
    options = ""
    usual = not sweep or len(builtin.seeds) >= _SWEEP_SEEDS
    if recipe.seeds != builtin.seeds or not usual:
        seeds = ",".join(map(str, recipe.seeds)) + ("," if len(recipe.seeds) == 1 else "")
        options += f" --seeds {seeds}"
    if recipe.epochs != builtin.epochs:
        options += f" --epochs {recipe.epochs}"
    return options


def _sweeps(recipe: Recipe) -> Iterator[tuple[tuple[Arm, ...], str]]:
    """Yield the arms of the sweeps that this may have been, each with its options."""
    others = [arm for arm in recipe.arms if not arm.is_baseline]
    if not others:
        return
    sites, kind = tuple(others[0].rates), others[0].kind
    rates = sorted({rate for arm in others for rate in arm.rates.values() if rate})
    options = f" --rates {','.join(f'{rate!r}' for rate in rates)}"
    options += f" --sites {shlex.quote(','.join(sites))}"
    end = f" --kind {shlex.quote(kind)}" if kind else ""
    common = (Arm(f"{rate:g}", dict.fromkeys(sites, rate), kind) for rate in rates)
    yield (recipe.baseline, *common), options + end
    if (len(rates) + 1) ** len(sites) == len(others) + 1:
        grid = (
            Arm("-".join(f"{rate:g}" for rate in each), dict(zip(sites, each, strict=True)), kind)
            for each in itertools.product((0.0, *rates), repeat=len(sites))
            if any(each)
        )
        yield (recipe.baseline, *grid), f"{options} --independent{end}"
