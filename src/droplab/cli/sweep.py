"""`droplab sweep`: many dropout rates at once, compared with none."""

from __future__ import annotations

from typing import Any

import click

from droplab.cli.run import parse_seeds, run_and_show, training_options
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
    "--existing",
    metavar="NAME",
    help="Sweep the rate of dropout that the model has, by its name or a pattern of names, instead "
    "of adding some.",
)
@click.option(
    "--seeds",
    help="How many seeds ('4': the recipe's first four), or which ('0,1,7') "
    f"[default: the recipe's, at least {USUAL_SEEDS}].",
)
@training_options
def command(
    recipe: str,
    rates: str,
    sites: str | None,
    independent: bool,
    kind: str | None,
    existing: str | None,
    seeds: str | None,
    epochs: int | None,
    **how: Any,
) -> None:
    r"""Train RECIPE with many dropout rates, every seed each, and say which one helps.

    All replicas are trained together where the model allows it. RECIPE is a built-in name (see
    `droplab recipes list`) or a TOML file; its arms are replaced by those of the sweep, which are
    named by their rates. Exit codes are those of `droplab run`.

    \b
    Examples:
      droplab sweep digits --rates 0:0.8:0.1
      droplab sweep mine.toml --rates 0.2,0.5 --sites 'fc*' --seeds 12
      droplab sweep bert.toml --rates 0,0.1,0.3 --existing '*.dropout'
    """
    from droplab.recipe import load, override
    from droplab.studies import parse_rates, sweep_recipe

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
        override(spec, changes),
        values,
        sites=chosen,
        independent=independent,
        kind=kind,
        existing=existing,
    )
    run_and_show(spec, **how)
