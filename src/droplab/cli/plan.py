"""`droplab plan`: what a recipe will take, and what its seeds will see, before it runs."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from droplab.cli._heading import earlier_run, print_heading
from droplab.cli._verbose import verbose
from droplab.cli.run import changed_recipe, recipe_options


@click.command("plan")
@click.argument("recipe")
@recipe_options
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the recipe's.")
@click.option(
    "--rates", metavar="RATES", help="As `droplab sweep` has it: with these rates as its arms."
)
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="An earlier run of the recipe, which tells how much results scatter; other seeds and arms "
    "will do [default: the newest such run in runs/].",
)
@click.option(
    "--effect",
    type=float,
    metavar="SIZE",
    help="How many seeds see an effect of this size: in the unit of the metric that decides, 0.01 "
    "of an accuracy being a point; in standard deviations where no run is known.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train [default: a CUDA device if there is one].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@verbose
def command(
    recipe: str,
    arms: tuple[str, ...],
    seeds: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    rates: str | None,
    earlier: Path | None,
    effect: float | None,
    device: str | None,
    as_json: bool,
) -> None:
    r"""Say what a run of RECIPE takes, and which effect its seeds can see.

    RECIPE is a built-in name or a TOML file. The data is loaded and a few steps are measured,
    unless that was done before; the run then takes what was measured. Nothing is trained.

    \b
    Examples:
      droplab plan digits
      droplab plan mine.toml --seeds 12 --from runs/pilot
      droplab plan mine.toml --from runs/pilot --effect 0.01
      droplab plan digits --rates 0:0.8:0.1 --json
    """
    from rich.console import Console

    from droplab.results import load as load_run
    from droplab.verdict import foresee

    spec = changed_recipe(recipe, settings, epochs, seeds)
    if rates is not None:
        from droplab.studies import parse_rates, sweep_recipe

        spec = sweep_recipe(spec, parse_rates(rates))
    names = [arm.name for arm in spec.selected(arms)]
    found = load_run(earlier) if earlier is not None else earlier_run(spec)
    foresight = foresee(spec, names, found, wanted=effect)
    console = Console(stderr=as_json)
    if not as_json:
        print_heading(console, spec, names, foresight)
    with console.status("getting ready") if console.is_terminal else nullcontext():
        from droplab.studies import choose_plan, forecast, resolve

        experiment = resolve(spec)
        chosen = experiment.recipe.selected(names)
        plan = choose_plan(experiment, chosen, device=device)
        cost = forecast(experiment, chosen, plan)
    if as_json:
        document = {
            "recipe": spec.name,
            "digest": spec.digest,
            "arms": names,
            "seeds": list(spec.seeds),
            "epochs": spec.epochs,
            "cost": cost.to_dict(),
            "power": foresight.to_dict(),
            "spread_from": str(found.path) if found is not None else None,
        }
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
        return
    console.print(cost.sentence, highlight=False, soft_wrap=True)
