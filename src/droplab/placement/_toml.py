"""Plans as TOML: every site with its kind and rate, so that a plan outlives its rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from torch import nn

from droplab.documents import DocumentError, parse_toml, read_text
from droplab.errors import PlacementError, nearest, quote
from droplab.placement._layers import Kind

if TYPE_CHECKING:
    from droplab.placement._plan import Plan

FORMAT = 1


def dumps(plan: Plan) -> str:
    """Return a plan as TOML text."""
    document = {
        "format": FORMAT,
        "model": type(plan.model).__name__,
        "sites": {edit.name: {"p": edit.p, "kind": edit.kind} for edit in plan.edits},
    }
    return tomli_w.dumps(document)


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan to a TOML file."""
    Path(path).write_text(dumps(plan), encoding="utf-8")


def read_plan(path: str | Path) -> tuple[dict[str, float], dict[str, Kind]]:
    """Return the rates and kinds that a plan file holds.

    Raises:
        PlacementError: If the file cannot be read or is no plan.
    """
    try:
        text = read_text(Path(path))
    except DocumentError as error:
        raise PlacementError(f"{path}: expected a plan file, got {error}") from None
    return loads(text, where=str(path))


def loads(text: str, *, where: str = "plan") -> tuple[dict[str, float], dict[str, Kind]]:
    """Return the rates and kinds in the TOML text of a plan.

    Raises:
        PlacementError: If the text is no plan.
    """
    try:
        document = parse_toml(text)
    except DocumentError as error:
        raise PlacementError(f"{where}: expected TOML, got a syntax error: {error}") from None
    for key in document:
        if key not in ("format", "model", "sites"):
            hint = nearest(key, ("format", "model", "sites"))
            raise PlacementError(f"{where}: unknown key '{key}'{hint}")
    if document.get("format", FORMAT) != FORMAT:
        raise PlacementError(
            f"{where}: expected format {FORMAT}, got {quote(document['format'])}; "
            "a newer droplab wrote it"
        )
    table = document.get("sites")
    if not isinstance(table, dict) or not table:
        raise PlacementError(f"{where}: expected a table 'sites' with at least one site, got none")
    rates: dict[str, float] = {}
    kinds: dict[str, Kind] = {}
    for name, entry in table.items():
        fields = entry if isinstance(entry, dict) else {"p": entry}
        unknown = set(fields) - {"p", "kind"}
        if unknown or "p" not in fields:
            came = f"the keys {', '.join(fields)}" if fields else "an empty table"
            raise PlacementError(
                f"{where}: sites.{name}: expected p and perhaps kind, got {came}; dots in a site's "
                "name need quotes"
            )
        rates[name] = fields["p"]
        if "kind" in fields:
            kinds[name] = fields["kind"]
    return rates, kinds


def load_plan(model: nn.Module, path: str | Path, example: Any = None) -> Plan:
    """Return the plan in a TOML file, made for `model`.

    Args:
        model: The model to plan for; it needs to have every site of the file.
        path: A file that `Plan.save` wrote.
        example: A batch to run once, as in `plan`.

    Raises:
        PlacementError: If the file is no plan, or a site is not in the model.
    """
    from droplab.placement._plan import plan

    rates, kinds = read_plan(path)
    return plan(model, rates, kind=kinds, example=example)
