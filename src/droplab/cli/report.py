"""`droplab report`: a run as one HTML page."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from droplab.errors import RunError


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes [default: report.html in the run's folder].",
)
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the main figure as a picture, too (needs the extra 'png').",
)
@click.option("--open", "open_it", is_flag=True, help="Show the page in the browser.")
def command(run: Path, out: Path | None, png: Path | None, open_it: bool) -> None:
    """Write the report of RUN, the folder of a run (or its run.sqlite).

    The page is one file without scripts or requests. It is made from the rows alone, so it can be
    made while the run goes on, and where torch is not installed.
    """
    folder = run if run.is_dir() else run.parent
    page = out if out is not None else folder / "report.html"
    write_report(run, page, png)
    click.echo(f"Report: {page}")
    if png is not None:
        click.echo(f"Figure: {png}")
    if open_it:
        webbrowser.open(page.absolute().as_uri())


def write_report(run: Path, out: Path, png: Path | None = None) -> None:
    """Write a run's report to `out`, and its main figure to `png`.

    Raises:
        RunError: There is no run, it has no finished epoch, or a file cannot be written.
        BackendError: A figure is wanted and resvg-py is not installed.
    """
    from droplab.report import figure_png, render
    from droplab.results import load
    from droplab.verdict import judge

    result = load(run)
    verdict = judge(result)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(render(result, verdict), encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{out}: the report cannot be written ({error.strerror or error}); "
            "choose another place with --out"
        ) from error
    if png is not None:
        figure_png(result, verdict, png)
