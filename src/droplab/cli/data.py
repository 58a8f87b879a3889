"""`droplab data`: which data sets there are, fetching them, where they lie, how they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from rich.text import Text

if TYPE_CHECKING:
    from torch import Tensor

    from droplab.data import AnySplit, Progress


@click.group("data")
def command() -> None:
    """List, fetch, find and show data sets."""


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


@command.command("show")
@click.argument("recipe")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def show(recipe: str, quiet: bool) -> None:
    """Show how the data of RECIPE is read: its splits, targets, columns, and what is odd.

    RECIPE is a built-in recipe or a TOML file; nothing is trained.
    """
    from droplab.data import carve
    from droplab.data import load as load_data
    from droplab.recipe import load

    spec = load(recipe)
    with shown_progress(quiet=quiet) as progress:
        dataset = load_data(spec.data, task=spec.task, progress=progress)
    splits = carve(dataset, spec.data)
    console = Console()
    console.print(Text(f"{dataset.name}: {dataset.task}, {dataset.source}"))
    table = Table("split", "examples", "an input", "targets", box=None, pad_edge=False)
    for name, split in (
        ("train", splits.train),
        ("validation", splits.validation),
        ("test", splits.test),
    ):
        if split is not None:
            table.add_row(name, str(len(split)), *_seen(split, dataset.classes))
    console.print(table)
    if dataset.columns is not None:
        names = [f"{name} ({count} names)" for name, count in dataset.columns.categories.items()]
        console.print(Text(f"columns: {', '.join([*dataset.columns.numeric, *names])}"))
    for note in splits.notes:
        console.print(Text(f"note: {note}"))


def _seen(split: AnySplit, classes: Sequence[str]) -> tuple[str, str]:
    """Return what an input of a split is, and its targets in a few words."""
    from droplab.data import Split
    from droplab.data.tree import named

    if not isinstance(split, Split):
        return "read when it is needed", "read when they are needed"
    one = ", ".join(f"{at} {_example(part)}".strip() for at, part in named(split.inputs))
    if split.has_classes and classes:
        counts = split.targets.bincount(minlength=len(classes)).tolist()
        each = [f"{name}: {count}" for name, count in zip(classes, counts, strict=False)]
        more = [f"and {len(each) - 10} more"] if len(each) > 10 else []
        return one, ", ".join([*each[:10], *more])
    targets = split.targets.double()
    told = f"{targets.min().item():.4g} to {targets.max().item():.4g}"
    if targets.ndim == 1:
        told += f", mean {targets.mean().item():.4g}"
    else:
        told = f"{' x '.join(map(str, targets.shape[1:]))}, {told}"
    return one, told


def _example(inputs: Tensor) -> str:
    shape = " x ".join(map(str, inputs.shape[1:])) or "1"
    return f"{shape} {str(inputs.dtype).removeprefix('torch.')}"


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
