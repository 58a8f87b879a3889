"""Sites, plans and rates as tables for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from droplab.placement._entries import Entry
    from droplab.placement._plan import Plan
    from droplab.placement._sites import Site

ASSUMED = (
    "Read off the model's structure. Give an example batch to have it recorded from a real pass."
)


def as_text(item: RenderableType, width: int = 120) -> str:
    """Return a renderable as plain text."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(item)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def sites_table(found: Sequence[Site]) -> RenderableType:
    """Return the table of sites."""
    table = _table("site", "layer", "kind", "input", "placed by default")
    for site in found:
        refusal = site.refused or site.left_out
        table.add_row(
            Text(site.name),
            site.layer,
            site.kind,
            "" if site.shape is None else " x ".join(map(str, site.shape)),
            Text(f"no: {refusal}" if refusal else "yes"),
        )
    assumed = any(site.assumed for site in found)
    return Group(table, Text(ASSUMED)) if assumed else table


def plan_table(plan: Plan) -> RenderableType:
    """Return the table of edits, and of what is left out."""
    table = _table("site", "layer", "kind", "rate", "reason")
    for edit in plan.edits:
        table.add_row(Text(edit.name), edit.layer, edit.kind, f"{edit.p:g}", Text(edit.reason))
    for site, reason in plan.left_out:
        table.add_row(Text(site.name), site.layer, "", "none", Text(reason), style="dim")
    return Group(table, Text(ASSUMED)) if plan.assumed else table


def rates_table(entries: Sequence[Entry]) -> RenderableType:
    """Return the table of rates."""
    table = _table("name", "what", "in", "rate", "calls")
    for entry in entries:
        calls = "" if entry.calls is None else str(entry.calls)
        table.add_row(Text(entry.name), entry.what, entry.owner, f"{entry.p:g}", calls)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in ("rate", "calls") else "left")
    return table
