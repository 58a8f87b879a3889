"""`droplab compare`: runs side by side, and what differs between them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from droplab.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from droplab.report import SideBySide


_METRICS = 2
"""Metrics that a terminal has room for; the page and the document have all."""


@click.command("compare")
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path)
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the page to FILE, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(runs: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    r"""Put runs side by side: what differs between them, and what each has measured.

    RUN is the folder of a run (or its run.sqlite). Whether two follow the same experiment is told
    by digest, not by name. Runs that differ in seeds alone are also shown over all seeds: with a
    verdict only where the recipe had planned a second look (looks = 2).

    \b
    Examples:
      droplab compare runs/digits runs/digits-2
      droplab compare runs/a runs/b runs/c --html compared.html
      droplab compare runs/a runs/b --json
    """
    from rich.console import Console

    from droplab.report import compare_runs, render_comparison
    from droplab.results import load

    if len(runs) < 2:
        raise click.UsageError("expected at least two runs to compare, got one")
    found = compare_runs([load(run) for run in runs])
    if html is not None:
        try:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(render_comparison(found), encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"{html}: the page cannot be written ({error.strerror or error}); choose another "
                "place with --html"
            ) from error
    if as_json:
        json.dump(found.to_dict(), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    _show(found, Console())
    if html is not None:
        click.echo(f"Page: {html}")


def _show(found: SideBySide, console: Console) -> None:
    """Print runs side by side."""
    from rich.markup import escape
    from rich.table import Table

    def say(text: str) -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    for run in found.runs:
        say(f"{run.letter}  {run.name}: {run.recipe}, {run.size}, digest {run.digest}")
        say(f"   {run.headline}")
    say("")
    for sentence in found.sentences:
        say(sentence)
    if found.differing:
        table = Table("differs", *(run.letter for run in found.runs), title_justify="left")
        for row in found.differing:
            table.add_row(*(escape(text or "-") for text in (row.what, *row.values)))
        console.print(table)
    for title, rows in (("", found.arms), ("Over the seeds of all", found.pooled)):
        if not rows:
            continue
        if title:
            say(title)
        shown = map(escape, found.metrics[:_METRICS])
        table = Table("arm", "seeds", "verdict", "difference", *shown)
        for row in rows:
            name = f"{row.letter} {row.arm}".strip()
            cells = (name, str(row.seeds), row.word, row.difference, *row.cells[:_METRICS])
            table.add_row(*(escape(text or "-") for text in cells))
        console.print(table)
