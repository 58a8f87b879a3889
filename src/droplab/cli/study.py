"""`droplab study`: somebody's own training script, once for each arm and seed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from droplab.cli._executor import cluster_of, executor_options
from droplab.cli._receivers import receiver_options, receiving
from droplab.cli._verbose import verbose
from droplab.errors import ArgumentError, quote


@click.command("study", context_settings={"ignore_unknown_options": False})
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--arms", "arms", required=True, type=click.Path(path_type=Path), help="TOML file of the arms."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    required=True,
    metavar="NAME=lower|higher",
    help="What the script reports, and what of it is better; may be repeated. The first decides.",
)
@click.option("--primary", help="The metric that decides [default: the first].")
@click.option(
    "--seeds",
    help="How many seeds, or which ('0,1,7') [default: 8; with --folds one repeat].",
)
@click.option(
    "--folds",
    type=int,
    help="The script takes a seed as a fold of a cross-validation: s mod FOLDS of repeat s div "
    "FOLDS.",
)
@click.option(
    "--margin-size",
    type=float,
    help="The smallest improvement of interest, in the unit of the metric that decides.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Study folder [default: runs/NAME-DIGEST]."
)
@click.option("--resume", is_flag=True, help="Go on with the study in that folder.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at a time."
)
@executor_options
@receiver_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
@verbose
def command(
    script: Path,
    arguments: tuple[str, ...],
    arms: Path,
    metrics: tuple[str, ...],
    primary: str | None,
    seeds: str | None,
    folds: int | None,
    margin_size: float | None,
    out: Path | None,
    resume: bool,
    workers: int,
    executor: str | None,
    address: str | None,
    gpus_per_trial: float | None,
    tensorboard: Path | None,
    mlflow: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    r"""Run SCRIPT, a training script of your own, once for each arm and seed.

    The script asks for its trial: `trial = droplab.trial()`, then `model = trial.place(model)`,
    `for epoch in trial.epochs(20):` and `trial.report(val_loss=...)`. Its ARGUMENTS stand after --.
    Exit codes: 0 done, 2 bad input, or every trial failed, 130 interrupted.

    \b
    arms.toml:
      none = {}
      light = 0.1
      half = { fc2 = 0.5 }

    \b
    Examples:
      droplab study train.py --arms arms.toml --metric val_loss=lower
      droplab study train.py --arms arms.toml --metric val_loss=lower --seeds 6 -- --lr 0.01
      droplab study train.py --arms arms.toml --metric val_loss=lower --resume
      droplab study folds.py --arms arms.toml --metric rmse=lower --folds 10 --tensorboard logs
    """
    declared = dict(_metric(text) for text in metrics)
    if not script.is_file():
        raise ArgumentError(f"SCRIPT: expected a Python file, found none at {script}")
    table = _read(arms)
    from rich.console import Console

    from droplab.cli._outcome import outcome, show
    from droplab.cli.run import parse_seeds
    from droplab.studies import default_folder, study

    cluster = cluster_of(executor, address, gpus_per_trial)
    with receiving(None, tensorboard, mlflow) as observer:
        plan = study(
            Path(script.stem),
            arms=table,
            seeds=None if seeds is None else parse_seeds(seeds, ()),
            metrics=declared,
            primary=primary,
            folds=folds,
            margin_size=margin_size,
            observer=observer,
            resume=resume,
            quiet=quiet or as_json,
        )
        plan.folder = out if out is not None else default_folder(plan.recipe, existing=resume)
        try:
            plan.run_script([str(script), *arguments], workers=workers, cluster=cluster)
        except KeyboardInterrupt:
            click.echo(
                f"interrupted; every finished trial is kept in {plan.folder}. To go on, run the "
                f"same command with --out {plan.folder} --resume",
                err=True,
            )
            sys.exit(130)
    found = outcome(plan.result())
    if as_json:
        json.dump(found.to_dict(), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        show(found, Console())


def _metric(text: str) -> tuple[str, str]:
    name, equals, better = text.partition("=")
    if not equals or not name.strip():
        raise ArgumentError(
            f"--metric: expected NAME=lower or NAME=higher, got {quote(text)}; e.g. val_loss=lower"
        )
    return name.strip(), better.strip()


def _read(arms: Path) -> dict[str, Any]:
    from droplab.documents import DocumentError, parse_toml, read_text

    try:
        if not arms.is_file():
            raise ArgumentError(f"--arms: expected a TOML file, found none at {arms}")
        return parse_toml(read_text(arms))
    except DocumentError as error:
        raise ArgumentError(f"{arms}: expected TOML, and could not read it: {error}") from None
    except OSError as error:
        raise ArgumentError(f"{arms}: cannot read this file: {error}") from None
