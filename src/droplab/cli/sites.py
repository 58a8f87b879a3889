"""`droplab sites`: where dropout can go in a model, and what drops there already."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from droplab.cli._example import read_examples
from droplab.cli._model_file import TARGET, load_model, model_options, read_arguments
from droplab.placement import Rates, Sites, branches, rates, sites, widened


@click.command("sites")
@TARGET
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    target: str,
    given: tuple[str, ...],
    arguments: str | None,
    examples: tuple[str, ...],
    as_json: bool,
) -> None:
    r"""List where dropout can go in a model, and the dropout that is there.

    FILE.py is imported, as Python would import it, and NAME, a class or a function, is called.
    With --example, the model runs once, so that nothing has to be assumed.

    \b
    Examples:
      droplab sites nets.py:Net
      droplab sites nets.py:Net --arg width=64 --example 8x1x28x28
    """
    model = load_model(target, read_arguments(given, arguments))
    example = read_examples(examples, model)
    with contextlib.redirect_stdout(sys.stderr):
        found = sites(model, example)
        existing = rates(model, example)
        ends = branches(model, example) if example is not None else Sites()
    if as_json:
        click.echo(json.dumps(_document(target, found, existing, ends), indent=2))
        return
    console = Console()
    for item in (found, ends, existing):
        console = widened(console, item)
    if not found:
        console.print("No linear, convolution or recurrent layer, so nowhere to put dropout.")
    else:
        console.print(found)
    if ends:
        console.print(Text('\nResidual branches, which kind = "path" drops', "bold"))
        console.print(ends)
    if existing or existing.random:
        console.print(Text("\nDropout that is there", "bold"))
        console.print(existing)


def _document(target: str, found: Sites, existing: Rates, ends: Sites) -> dict[str, Any]:
    return {
        "model": target,
        "assumed": any(site.assumed for site in found),
        "sites": [
            {
                "name": site.name,
                "layer": site.layer,
                "kind": site.kind,
                "why": site.why,
                "placed_by_default": not (site.left_out or site.refused),
                "left_out": site.left_out,
                "refused": site.refused,
                "calls": site.calls,
                "skipped_at_random": site.sometimes,
                "shape": site.shape,
                "shares_input_with": site.shares,
                "aliases": site.aliases,
            }
            for site in found
        ],
        "branches": [
            {"name": end.name, "layer": end.layer, "refused": end.refused, "calls": end.calls}
            for end in ends
        ],
        "existing": [
            {"name": e.name, "what": e.what, "in": e.owner, "p": e.p, "calls": e.calls}
            for e in existing.entries
        ],
        "random": [
            {"in": drawn.owner, "draws_by": drawn.function, "at": drawn.where, "calls": count}
            for drawn, count in existing.random
        ],
    }
