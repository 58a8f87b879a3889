"""`droplab export`: a trained model as a file that runs without droplab."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from droplab.cli._model_file import model_of, model_options
from droplab.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn


@click.command("export")
@click.argument("source", metavar="RUN|FILE.py:NAME")
@click.option("--to", type=click.Choice(["onnx", "pt2"]), required=True, help="The format.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file."
)
@click.option(
    "--dropout",
    type=click.Choice(["off", "mc"]),
    default="off",
    show_default=True,
    help="Without dropout, or with many seeded passes inside.",
)
@click.option(
    "--passes", type=click.IntRange(min=1), default=50, show_default=True, help="Passes inside."
)
@click.option(
    "--masks-seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=0,
    show_default=True,
    help="What the masks of the passes are drawn from.",
)
@click.option("--arm", help="Of a run: whose model [default: that of the chosen arm].")
@click.option("--seed", type=int, help="Of a run: which seed's model [default: the first].")
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of a file: weights, as torch.save or safetensors wrote them.",
)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source: str,
    to: Any,
    out: Path,
    dropout: Any,
    passes: int,
    masks_seed: int,
    arm: str | None,
    seed: int | None,
    weights: Path | None,
    given: tuple[str, ...],
    arguments: str | None,
    examples: tuple[str, ...],
    as_json: bool,
) -> None:
    r"""Write a model to a file that runs without droplab, and check its numbers.

    The file's output is compared with PyTorch's, and is not written if they differ by more than
    rounding. With --dropout mc it returns the outputs of all passes, (passes, inputs, ...), with
    the masks that droplab.uncertainty.sample has.

    \b
    Examples:
      droplab export runs/digits --to onnx --out digits.onnx
      droplab export runs/digits --arm 0.5 --to pt2 --dropout mc --passes 20 --out digits.pt2
      droplab export nets.py:Net --weights net.safetensors --example 4x784 --to onnx --out n.onnx
    """
    model, example = _found(source, arm, seed, weights, (given, arguments, examples))
    with contextlib.redirect_stdout(sys.stderr):
        from droplab.uncertainty import export

        found = export(model, example, out, to=to, dropout=dropout, passes=passes, seed=masks_seed)
    if as_json:
        click.echo(json.dumps({**asdict(found), "path": str(found.path)}, indent=2))
        return
    what = f"{found.passes} passes, {found.woken}" if found.passes else "no dropout"
    batch = "any number of inputs" if found.batch is None else f"{found.batch} inputs a call"
    click.echo(
        f"{found.path}: {to}, {what}; {batch}; differs from PyTorch by {found.difference:.1e} of "
        "the largest number"
    )


def _found(
    source: str,
    arm: str | None,
    seed: int | None,
    weights: Path | None,
    made: tuple[tuple[str, ...], str | None, tuple[str, ...]],
) -> tuple[nn.Module, Any]:
    """Return the model, and a batch that it runs on."""
    given, arguments, examples = made
    if Path(source).exists():
        if weights is not None or given or arguments or examples:
            raise ArgumentError(
                "export: a run has its own weights and data; leave out --weights, --example, --arg "
                "and --arguments"
            )
        from droplab.studies import trained_model

        return trained_model(source, arm=arm, seed=seed)
    if arm is not None or seed is not None:
        raise ArgumentError(f"export: --arm and --seed are of a run; there is no run at {source}")
    from droplab.cli._example import read_examples

    model = model_of(source, weights, given, arguments)
    example = read_examples(examples, model)
    if example is None:
        raise ArgumentError("export: expected --example, the shape of a batch, 4x1x28x28 for one")
    return model, example
