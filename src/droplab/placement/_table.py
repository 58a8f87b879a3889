"""Tables for people."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.table import Table

ASSUMED = (
    "Read off the model's structure. Give an example batch to have it recorded from a real pass."
)


def as_text(item: RenderableType, width: int = 120) -> str:
    """Return a renderable as plain text."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(item)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def table(*columns: str) -> Table:
    """Return an empty table with these columns."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in ("rate", "calls") else "left")
    return made
