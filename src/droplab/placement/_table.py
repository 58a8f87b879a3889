"""Tables for people."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

ASSUMED = (
    "Read off the model's structure. Give an example batch to have it recorded from a real pass."
)


_SENTENCES = ("reason", "placed by default", "can be dropped")

_ANY = 10_000


def as_text(item: RenderableType) -> str:
    """Return a renderable as plain text."""
    out = io.StringIO()
    console = Console(file=out, width=120, color_system=None)
    widened(console, item).print(item)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def widened(console: Console, item: RenderableType) -> Console:
    """Return the console, at least as wide as the longest name in the tables of `item`."""
    free = console.options.update(width=_ANY, max_width=_ANY)
    console.width = max(console.width, Measurement.get(console, free, item).minimum)
    return console


def table(*columns: str) -> Table:
    """Return an empty table with these columns, of which the first is never broken."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        side = "right" if column in ("rate", "calls") else "left"
        first = column == columns[0]  # a name that is cut, or in two lines, is none
        least = 24 if column in _SENTENCES else None
        made.add_column(column, justify=side, overflow="fold", no_wrap=first, min_width=least)
    return made
