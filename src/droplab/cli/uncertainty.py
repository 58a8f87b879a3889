"""`droplab uncertainty`: many passes with dropout against the plain one, of a run or a model."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from droplab.cli._model_file import argument_options, model_of
from droplab.errors import ArgumentError

if TYPE_CHECKING:
    from droplab.report import Averaging


@click.command("uncertainty")
@click.argument("source", metavar="RUN|FILE.py:NAME")
@click.option("--arm", help="Of a run: whose models [default: those of the chosen arm].")
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of a file: weights, as torch.save or safetensors wrote them.",
)
@click.option(
    "--data",
    metavar="RECIPE|DATA",
    help="Of a file: a recipe, for its validation examples, or data by name or path, for its test "
    "examples.",
)
@click.option(
    "--task",
    type=click.Choice(["classification", "binary", "regression"]),
    help="Of a file: classes with a logit each, one logit, or values [default: what the data "
    "says].",
)
@argument_options
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
    source: str,
    arm: str | None,
    weights: Path | None,
    data: str | None,
    task: str | None,
    given: tuple[str, ...],
    arguments: str | None,
    passes: int,
    out: Path | None,
    ood: str | None,
    as_json: bool,
) -> None:
    r"""Predict by many passes with dropout, and by a plain pass, with the models of a run or one.

    Those of a run are scored on its validation examples and judged over seeds as arms are: whether
    the mean of the passes is better than the plain pass in eval mode. The mean over all seeds, an
    ensemble that the run has for free, stands beside them. One model has neither.

    \b
    Examples:
      droplab uncertainty runs/digits
      droplab uncertainty runs/digits --arm 0.5 --passes 200 --json
      droplab uncertainty runs/fashion --out uncertainty.html --ood mnist
      droplab uncertainty nets.py:Net --arg p=0.3 --weights net.pt --data digits
    """
    console = Console(stderr=as_json)
    watch = not as_json and console.is_terminal
    is_run = Path(source).exists()
    model = None
    if is_run:
        if weights or data or task or given or arguments:
            raise ArgumentError(
                "uncertainty: a run has its own weights and data; leave out --weights, --data, "
                "--task, --arg and --arguments"
            )
    else:
        if arm is not None:
            raise ArgumentError(f"uncertainty: --arm is of a run; there is no run at {source}")
        model = model_of(source, weights, given, arguments)
        if data is None:
            raise ArgumentError(
                "uncertainty: expected --data beside a model, a recipe or data by name or path, "
                "got none"
            )
    with console.status("predicting") if watch else nullcontext(None) as status:
        from droplab.studies import average_model, compare_averaging

        def progress(done: float, total: int) -> None:
            if status is not None:
                seed = f"seed {min(int(done) + 1, total)} of {total}, " if total > 1 else ""
                status.update(f"predicting: {seed}{done / total:.0%} in all")

        how: Any = {"passes": passes, "figures": out is not None, "other": ood}
        how["progress"] = progress
        if model is None:
            found = compare_averaging(source, arm=arm, **how)
        else:
            found = average_model(model, str(data), task=task, **how)
    if out is not None:
        from droplab.report import render_averaging
        from droplab.results import whole_file

        name = Path(source).name if is_run else source
        with whole_file(out) as part:
            part.write_text(render_averaging(found, name), encoding="utf-8")
    if as_json:
        json.dump(
            {"run" if is_run else "model": source, **found.to_dict()},
            sys.stdout,
            indent=2,
            allow_nan=False,
        )
        sys.stdout.write("\n")
        return
    _print(console, found)
    if out is not None:
        console.print(f"Page: {escape(str(out))}", highlight=False, soft_wrap=True)


def _print(console: Console, found: Averaging) -> None:
    spread = "" if found.verdict is None else "; mean ± standard deviation over seeds"
    lines = [
        *found.sentences,
        found.precision,
        *(
            f"Other data is told from the model's own by {name} with AUROC {scores['auroc']:.3f}, "
            f"AUPR {scores['aupr']:.3f}, false positives at 95 % {scores['fpr95']:.3f}."
            for name, scores in (found.other or {}).items()
        ),
    ]
    console.print(escape(f"{found.of_whom}{spread}"), highlight=False)
    if found.scores:
        head, *rows = found.by_score
        table = Table(*map(escape, head), box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for line in lines:
        console.print(escape(line), highlight=False)
