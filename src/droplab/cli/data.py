"""`droplab data`: which data sets there are, fetching them, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table

if TYPE_CHECKING:
    from droplab.data import Progress


@click.group("data")
def command() -> None:
    """List, fetch and find the data sets."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(as_json: bool) -> None:
    """List the data sets that recipes can name."""
    from droplab.data import known, names

    rows = [known(name) for name in names()]
    if as_json:
        document = [
            {
                "name": row.name,
                "summary": row.summary,
                "licence": row.licence,
                "folder": str(row.folder),
                "here": not row.missing,
            }
            for row in rows
        ]
        click.echo(json.dumps(document, indent=2))
        return
    table = Table("name", "here", "what", "licence", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, "no" if row.missing else "yes", row.summary, row.licence)
    Console().print(table)


@command.command("get")
@click.argument("name")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def get(name: str, quiet: bool) -> None:
    """Fetch the data set NAME, unless it is here already, and verify it."""
    from droplab.data import load

    with shown_progress(quiet=quiet) as progress:
        dataset = load(name, progress=progress)
    tests = len(dataset.test) if dataset.test else 0
    click.echo(f"{name}: {len(dataset.train)} + {tests} examples, {dataset.source}")


@command.command("where")
@click.argument("name")
def where(name: str) -> None:
    """Print the folder of the data set NAME."""
    from droplab.data import known

    found = known(name)
    click.echo(found.folder)
    if found.missing:
        click.echo(f"not complete: {found.missing}; droplab data get {name}", err=True)


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress | None]:
    """Yield a callback for `droplab.data.load` that draws a bar on the error stream."""
    if quiet:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        shown = ""

        def progress(what: str, done: int, total: int | None) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                bar.reset(task, description=what, total=total, visible=True)
            bar.update(task, completed=done, total=total)

        yield progress
