"""`droplab uncertainty`: many passes with dropout against the plain one, for a run's models."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click


@click.command("uncertainty")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--arm", help="Whose models [default: those of the chosen arm].")
@click.option(
    "--passes",
    type=click.IntRange(min=2),
    default=50,
    show_default=True,
    help="Passes with dropout, for each model.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with figures here, HTML.",
)
@click.option(
    "--ood",
    metavar="DATA",
    help="Other data, by name or path: how well the passes tell it from the run's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    run: Path, arm: str | None, passes: int, out: Path | None, ood: str | None, as_json: bool
) -> None:
    r"""Predict with the models of RUN by many passes with dropout, and by a plain pass.

    Both are scored on the validation examples and judged over seeds as arms are: whether the mean
    of the passes is better than the plain pass in eval mode. The mean over all seeds, an ensemble
    that the run has for free, stands beside them.

    \b
    Examples:
      droplab uncertainty runs/digits
      droplab uncertainty runs/digits --arm 0.5 --passes 200 --json
      droplab uncertainty runs/fashion --out uncertainty.html --ood mnist
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(stderr=as_json)
    watch = not as_json and console.is_terminal
    with console.status("predicting") if watch else nullcontext(None) as status:
        from droplab.studies import compare_averaging

        def progress(done: int, total: int) -> None:
            if status is not None:
                status.update(f"seed {done} of {total}")

        found = compare_averaging(
            run, arm=arm, passes=passes, figures=out is not None, other=ood, progress=progress
        )
    if out is not None:
        from droplab.report import render_averaging
        from droplab.results import whole_file

        with whole_file(out) as part:
            part.write_text(render_averaging(found, run.name), encoding="utf-8")
    if as_json:
        document = {**asdict(found), "run": str(run), "verdict": found.verdict.to_dict()}
        document.pop("extremes")  # pictures, which the page shows
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
        return
    metrics = found.verdict.metrics.epoch
    table = Table("prediction", *(metric.label for metric in metrics.values()))
    for each in found.verdict.arms:
        cells = [f"{each.metrics[m].mean:.4f} ±{each.metrics[m].sd:.4f}" for m in metrics]
        table.add_row(each.name, *cells)
    for way, scores in found.ensembles.items():
        if scores:
            table.add_row(f"{way}, all seeds together", *(f"{scores[m]:.4f}" for m in metrics))
    console.print(
        f"Arm '{escape(found.arm)}', {found.examples} validation examples, {found.passes} passes; "
        "mean ± standard deviation over seeds",
        highlight=False,
    )
    console.print(table)
    for each in found.verdict.arms:
        if each.differences:
            console.print(escape(each.sentence), highlight=False)
    console.print(
        f"With {found.passes} passes a probability has a Monte Carlo standard error of "
        f"{found.error:.4f} on average; {4 * found.passes} passes would halve it.",
        highlight=False,
    )
    for name, scores in (found.other or {}).items():
        console.print(
            f"Other data is told from the run's by {name} with AUROC {scores['auroc']:.3f}, "
            f"AUPR {scores['aupr']:.3f}, false positives at 95 % {scores['fpr95']:.3f}.",
            highlight=False,
        )
    if out is not None:
        console.print(f"Page: {escape(str(out))}", highlight=False, soft_wrap=True)
