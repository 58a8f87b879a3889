"""`droplab lab`: the local web page."""

from __future__ import annotations

from pathlib import Path

import click

from droplab.errors import BackendError


@click.command("lab")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Where the page is served on this machine; 0 takes any free port.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The folder that has the runs.",
)
@click.option("--no-open", is_flag=True, help="Do not open the browser.")
def command(port: int, runs: Path, no_open: bool) -> None:
    """Open the lab: run, watch and learn in the browser.

    The page is served on this machine only. Ctrl-C ends it with everything it has started; rows
    that were finished are kept, and a run can be resumed.
    """
    try:
        from droplab.lab import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio", "h11"):
            raise
        raise BackendError(
            "lab: the page needs Starlette and uvicorn, which are not installed; "
            "pip install 'droplab[lab]'"
        ) from None
    serve(runs, port=port, open_browser=not no_open, say=click.echo)
