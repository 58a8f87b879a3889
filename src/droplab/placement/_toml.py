"""Plans as TOML: every site with its kind and rate, so that a plan outlives its rules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tomli_w

from droplab.documents import DocumentError, parse_toml, read_text
from droplab.errors import PlacementError, nearest, quote
from droplab.placement._applied import Edit
from droplab.placement._layers import Kind

FORMAT = 1


def dumps(model: str, edits: Iterable[Edit]) -> str:
    """Return a plan for a model of this class as TOML text."""
    document = {
        "format": FORMAT,
        "model": model,
        "sites": {edit.name: {"p": edit.p, "kind": edit.kind} for edit in edits},
    }
    return tomli_w.dumps(document)


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
