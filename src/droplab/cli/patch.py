"""`droplab patch`: dropout in the user's own file, as plain torch."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from droplab.cli._model_file import (
    TARGET,
    load_model,
    model_options,
    read_arguments,
    split_target,
)
from droplab.errors import PlacementError
from droplab.placement import KINDS, Kind, patch_file, read_plan
from droplab.placement import plan as plan_for


@click.command("patch")
@TARGET
@click.option("--rates", "text", metavar="SITE=P,...", help="Rates by site, as fc2=0.3,fc3=0.3.")
@click.option(
    "--plan",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take sites, kinds and rates from a plan that was saved.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Take the rates of the arm that a run has chosen, from the run's folder.",
)
@click.option("--kind", type=click.Choice(KINDS[:-1]), help="One kind for all sites.")
@model_options
@click.option(
    "--names",
    is_flag=True,
    help="Write a Sequential that gets dropout with names, so that state_dict keys stay.",
)
@click.option("--write", is_flag=True, help="Change the file, not only print the diff.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    target: str,
    text: str | None,
    plan: Path | None,
    run: Path | None,
    kind: Kind | None,
    given: tuple[str, ...],
    arguments: str | None,
    examples: tuple[str, ...],
    names: bool,
    write: bool,
    as_json: bool,
) -> None:
    r"""Print the diff that adds nn.Dropout lines to a class, or apply it.

    The file is read, not run, unless --arg, --arguments or --example is given: then the model is
    made, run on the example, and planned for, so that what its source cannot show is known.
    Dropout that already drops a site's input changes its rate. Exactly one of --rates, --plan and
    --run says what is wanted.

    \b
    Examples:
      droplab patch nets.py:Net --rates fc2=0.3,fc3=0.5
      droplab patch nets.py:Net --run runs/mine --write
    """
    path, name = split_target(target)
    wanted = [flag for flag in (text, plan, run) if flag is not None]
    if len(wanted) != 1:
        raise PlacementError(
            f"patch: expected one of --rates, --plan and --run, got {len(wanted) or 'none'}"
        )
    rates, kinds = _wanted(text, plan, run)
    kinds = kind or kinds
    if given or arguments or examples:
        rates, kinds = _planned(target, read_arguments(given, arguments), examples, rates, kinds)
    patch = patch_file(path, name, rates, kinds, keep_names=names)
    if write and patch.diff:
        patch.write()
    if as_json:
        document = {
            "file": str(patch.path),
            "class": patch.class_name,
            "diff": patch.diff,
            "written": write and bool(patch.diff),
            "edits": [{"site": e.site, "line": e.line, "what": e.what} for e in patch.edits],
            "notes": patch.notes,
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(patch.diff, nl=False)
    for note in patch.notes:
        click.echo(f"note: {note}", err=True)
    if not patch.diff:
        click.echo(f"{path}: nothing to change", err=True)
    elif write:
        click.echo(f"{path}: written", err=True)


def _planned(
    target: str,
    arguments: Mapping[str, Any],
    examples: Sequence[str],
    rates: Mapping[str, float],
    kinds: Mapping[str, Kind] | Kind | None,
) -> tuple[dict[str, float], dict[str, Kind]]:
    """Return the rate and kind of every site that a plan for the made model has."""
    from droplab.cli._example import read_examples

    model = load_model(target, arguments)
    with contextlib.redirect_stdout(sys.stderr):
        made = plan_for(model, rates, kinds, read_examples(examples, model))
    return made.rates, {edit.name: edit.kind for edit in made.edits}


def _wanted(
    text: str | None, plan: Path | None, run: Path | None
) -> tuple[Mapping[str, float], Mapping[str, Kind] | Kind | None]:
    if text is not None:
        return _read_rates(text), None
    if plan is not None:
        return read_plan(plan)
    assert run is not None
    return _chosen(run)


def _read_rates(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in text.split(","):
        site, equals, rate = part.strip().rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = None
        if not equals or not site or value is None:
            raise PlacementError(
                f"--rates: expected SITE=P, as fc2=0.3,fc3=0.3, got '{part.strip()}'"
            )
        if site in found:
            raise PlacementError(f"--rates: '{site}' is given twice; give it once")
        found[site] = value
    return found


def _chosen(run: Path) -> tuple[Mapping[str, float], Kind | None]:
    from droplab.results import load
    from droplab.verdict import judge

    result = load(run)
    chosen = judge(result).chosen
    if chosen is None:
        raise PlacementError(f"{run}: expected a run that has chosen an arm, got one without")
    arm = next(arm for arm in result.recipe.arms if arm.name == chosen)
    if arm.existing or arm.schedule is not None:
        what = (
            "changes rates that the model has: set them where it is built"
            if arm.existing
            else "changes its rates as it trains, which plain layers do not"
        )
        raise PlacementError(f"{run}: the chosen arm '{chosen}' {what}")
    if arm.kind is not None and arm.kind not in KINDS[:-1]:
        raise PlacementError(
            f"{run}: the chosen arm '{chosen}' uses the kind '{arm.kind}', for which torch has no "
            "layer"
        )
    click.echo(f"{run}: the rates of the arm '{chosen}'", err=True)
    return arm.rates, arm.kind
