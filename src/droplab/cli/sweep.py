"""`droplab sweep`: many dropout rates at once, compared with none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from droplab.cli._verbose import verbose
from droplab.cli.run import PLAN_HELP, TARGET_MISSED, parse_seeds, parse_time, run_and_show
from droplab.limits import USUAL_SEEDS


@click.command("sweep")
@click.argument("recipe")
@click.option(
    "--rates",
    required=True,
    metavar="RATES",
    help="start:stop:step with both ends, or rates with commas; 0 is always compared with.",
)
@click.option(
    "--sites",
    metavar="SITES",
    help="Names or patterns of sites, with commas [default: every hidden site].",
)
@click.option("--independent", is_flag=True, help="Try every combination of rates over the sites.")
@click.option("--kind", help="Kind of dropout [default: what suits each site].")
@click.option(
    "--seeds",
    help="How many seeds ('4': the recipe's first four), or which ('0,1,7') "
    f"[default: the recipe's, at least {USUAL_SEEDS}].",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the recipe's.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder [default: runs/NAME-DIGEST]."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in the run folder, with the recipe, arms and code it began with.",
)
@click.option(
    "--changed-code",
    is_flag=True,
    help="Resume although the code, or the version of torch or droplab, has changed.",
)
@click.option(
    "--budget", metavar="TIME", help="Leave seeds away until the run fits, e.g. 90s, 5m or 2h."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train [default: a CUDA device if there is one].",
)
@click.option("--plan", metavar="PLAN", help=PLAN_HELP)
@click.option("--require-target", is_flag=True, help="Exit with 1 if no arm meets the target.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
@verbose
def command(
    recipe: str,
    rates: str,
    sites: str | None,
    independent: bool,
    kind: str | None,
    seeds: str | None,
    epochs: int | None,
    out: Path | None,
    resume: bool,
    changed_code: bool,
    budget: str | None,
    device: str | None,
    plan: str | None,
    require_target: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train RECIPE with many dropout rates, every seed each, and say which one helps.

    All replicas are trained together where the model allows it. RECIPE is a built-in name (see
    `droplab recipes list`) or a TOML file; its arms are replaced by those of the sweep, which are
    named by their rates. Exit codes are those of `droplab run`.
    """
    from droplab.recipe import load, override
    from droplab.study import parse_rates, sweep_recipe

    values = parse_rates(rates)
    spec = load(recipe)
    changes: dict[str, Any] = {}
    if epochs is not None:
        changes["epochs"] = epochs
    least = USUAL_SEEDS if spec.data.folds is None else 0
    count = seeds if seeds is not None else str(max(least, len(spec.seeds)))
    changes["seeds"] = parse_seeds(count, spec.seeds)
    chosen = [part.strip() for part in sites.split(",") if part.strip()] if sites else None
    spec = sweep_recipe(
        override(spec, changes), values, sites=chosen, independent=independent, kind=kind
    )
    met = run_and_show(
        spec,
        out=out,
        resume=resume,
        changed_code=changed_code,
        budget=parse_time(budget) if budget else None,
        device=device,
        plan=plan,
        as_json=as_json,
        quiet=quiet,
    )
    if require_target and met is False:
        sys.exit(TARGET_MISSED)
