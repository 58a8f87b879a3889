"""`droplab sites`: where dropout can go in a model, and what drops there already."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from droplab.cli._model_file import TARGET, load_model, read_examples
from droplab.placement import Rates, Sites, rates, sites


@click.command("sites")
@TARGET
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument that the class is made with; can be given several times.",
)
@click.option(
    "--example",
    "examples",
    multiple=True,
    metavar="SHAPE",
    help="Shape of an input, as 64x1x28x28, 2x7:int or input_ids=2x7:int. The model runs on it "
    "once, so that nothing has to be assumed; several make several arguments.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    target: str, arguments: tuple[str, ...], examples: tuple[str, ...], as_json: bool
) -> None:
    """List where dropout can go in a model, and the dropout that is there.

    FILE.py is imported, as Python would import it, and the class is made.
    """
    model = load_model(target, arguments)
    example = read_examples(examples)
    with contextlib.redirect_stdout(sys.stderr):
        found = sites(model, example)
        existing = rates(model, example)
    if as_json:
        click.echo(json.dumps(_document(target, found, existing), indent=2))
        return
    console = Console()
    if not found:
        console.print("No linear, convolution or recurrent layer, so nowhere to put dropout.")
    else:
        console.print(found)
    if existing:
        console.print(Text("\nDropout that is there", "bold"))
        console.print(existing)


def _document(target: str, found: Sites, existing: Rates) -> dict[str, Any]:
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
                "shape": site.shape,
                "shares_input_with": site.shares,
                "aliases": site.aliases,
            }
            for site in found
        ],
        "existing": [
            {"name": e.name, "what": e.what, "in": e.owner, "p": e.p, "calls": e.calls}
            for e in existing.entries
        ],
    }
