"""`droplab judge`: the verdict on rows that droplab did not make."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from droplab.cli.report import written
from droplab.errors import ArgumentError, quote


@click.command("judge")
@click.argument("rows", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--arm", required=True, metavar="COLUMN", help="What differs between the arms.")
@click.option("--seed", required=True, metavar="COLUMN", help="By which trials are paired.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    required=True,
    metavar="COLUMN=BETTER",
    help="A metric and which of its values are better, lower or higher; may be repeated.",
)
@click.option(
    "--baseline", metavar="ARM", help="What arms are compared with [default: the one 0 or none]."
)
@click.option(
    "--epoch", metavar="COLUMN", help="What numbers the rows of a trial [default: it is one row]."
)
@click.option("--primary", metavar="COLUMN", help="The metric that decides [default: the first].")
@click.option(
    "--folds",
    type=int,
    help="A seed is a fold of a cross-validation: s mod FOLDS of repeat s div FOLDS, from 0.",
)
@click.option(
    "--margin-size",
    type=float,
    help="The smallest improvement of interest, in the unit of the metric that decides.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report: a page, or GitHub Markdown if the name ends in .md.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    rows: Path,
    arm: str,
    seed: str,
    metrics: tuple[str, ...],
    baseline: str | None,
    epoch: str | None,
    primary: str | None,
    folds: int | None,
    margin_size: float | None,
    report: Path | None,
    as_json: bool,
) -> None:
    r"""Judge the trials in FILE: .csv, .tsv, .parquet or .jsonl, one row a trial, or an epoch.

    Arms are paired by seed and compared as those of a run are. droplab did not see these trials,
    and says so. A number is lower or higher better: --metric val_loss=lower.

    \b
    Examples:
      droplab judge results.csv --arm dropout --seed seed --metric val_loss=lower
      droplab judge log.csv --arm p --seed seed --epoch epoch --metric acc=higher --report out.html
      droplab judge runs.csv --arm model --baseline plain --seed seed --metric rmse=lower --json
    """
    from rich.console import Console

    from droplab.cli._outcome import Outcome, show
    from droplab.cli._words import command_line
    from droplab.report import render, render_markdown
    from droplab.results import load_rows
    from droplab.verdict import judge

    result = load_rows(
        rows,
        arm=arm,
        seed=seed,
        metrics=dict(map(_metric, metrics)),
        baseline=baseline,
        epoch=epoch,
        primary=primary,
        folds=folds,
        margin_size=margin_size,
        command=command_line(),
    )
    found = Outcome(result, judge(result))
    if report is not None:
        make = render_markdown if report.suffix.lower() == ".md" else render
        written(report, make(result, judge(result)))
    if as_json:
        json.dump(found.to_dict(), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
        return
    console = Console()
    show(found, console)
    if report is not None:
        console.print(f"\nReport: {report}", highlight=False, soft_wrap=True, markup=False)


def _metric(text: str) -> tuple[str, str]:
    name, equals, better = text.rpartition("=")
    if not equals or not name:
        raise ArgumentError(
            f"--metric: expected COLUMN=lower or COLUMN=higher, got {quote(text)}; "
            f"{text.strip('=')[:40]}=lower for example"
        )
    return name, better
