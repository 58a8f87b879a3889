"""`droplab selftest`: are the masks on this machine what they should be?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from droplab.ops import Check, SelfTest

FAILED = 1


@click.command("selftest")
@click.option("--device", "devices", multiple=True, help="Only this device; may be repeated.")
@click.option("--elements", default=1 << 20, show_default=True, help="Elements of each mask.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another test.")
@click.option("--no-compile", is_flag=True, help="Leave out the tests under torch.compile.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    devices: tuple[str, ...],
    elements: int,
    seed: int,
    no_compile: bool,
    as_json: bool,
) -> None:
    """Check keep rates, independence, and forward against backward masks on every device.

    Exits with 1 if a check fails.
    """
    from droplab.ops import selftest

    result = selftest(
        devices=devices or None,
        elements=elements,
        seed=seed,
        compiled=False if no_compile else None,
    )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        _print(result, Console())
    if not result.passed:
        context.exit(FAILED)


def _print(result: SelfTest, console: Console) -> None:
    for device, backend in result.backends.items():
        table = Table(
            box=None, pad_edge=False, title=f"{device} (backend: {backend})", title_justify="left"
        )
        table.add_column("check")
        modes = list(dict.fromkeys(check.mode for check in result.checks))
        for mode in modes:
            table.add_column(mode, justify="right")
        own = [check for check in result.checks if check.device == device]
        found = {(check.name, check.mode): check for check in own}
        for name in dict.fromkeys(name for name, _ in found):
            table.add_row(name, *(_cell(found.get((name, mode))) for mode in modes))
        console.print(table)
        console.print()
    for reason in result.skipped:
        console.print(Text(f"Left out: {reason}", "yellow"))
    limit = max(check.limit for check in result.checks)
    console.print(
        Text(
            f"Scores are in standard deviations and may reach {limit:.1f}: with right masks, one "
            f"run in {1 / result.false_alarms:,.0f} would fail. The others count wrong elements. "
            f"{result.elements} elements a mask, seed {result.seed}."
        )
    )
    failed = sum(not check.passed for check in result.checks)
    if failed:
        console.print(Text(f"{failed} of {len(result.checks)} checks failed.", "bold red"))
    else:
        console.print(Text(f"All {len(result.checks)} checks passed.", "bold green"))


def _cell(check: Check | None) -> Text:
    if check is None:
        return Text("")
    value = f"{check.value:+.2f}" if check.limit else f"{check.value:.0f} wrong"
    return Text(value, "green" if check.passed else "bold red")
