"""`droplab demo`: the main experiment on real data, with its report."""

from __future__ import annotations

from pathlib import Path

import click

from droplab.cli._verbose import verbose

BUDGET = "240s"
"""What the training may take, so that the whole demo ends within five minutes."""


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Parent folder of the run.",
)
@verbose
def command(out: Path) -> None:
    """Train a classifier that overfits with and without dropout, and write the report.

    Runs `fashion-overfit` with as many of its seeds as fit about four minutes, and at least with
    those that a verdict needs. Where no source of Fashion-MNIST can be reached it runs `digits`,
    whose data is in the package, and says so.
    """
    from droplab import data
    from droplab.cli.report import write_report
    from droplab.cli.run import run_and_show
    from droplab.errors import DataError
    from droplab.recipe import load
    from droplab.studies import free_folder
    from droplab.verdict import fewest

    recipe = load("fashion-overfit")
    try:
        click.echo("Fetching Fashion-MNIST, unless it is in the cache ...")
        data.load(recipe.data)
    except DataError as error:
        click.echo(f"{error}\n\nNo Fashion-MNIST here: running the recipe 'digits' instead.\n")
        recipe = load("digits")
    folder = free_folder(out / recipe.name)
    run_and_show(recipe, out=folder, budget=BUDGET, least_seeds=fewest())
    write_report(folder, folder / "report.html")
    click.echo(f"\nThe report is at {folder / 'report.html'}")
