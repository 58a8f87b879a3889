"""`droplab report`: a run as one HTML page, as Markdown, or as a picture."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from droplab.cli._question import BOTH, asked, question_option
from droplab.errors import ArgumentError, RunError

FORMATS = ("html", "png", "md")


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="A page, the main figure as a picture (needs the extra 'png'), or GitHub Markdown.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where the report goes, - for the terminal [default: report.FORMAT in the run's folder].",
)
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the main figure as a picture, too (needs the extra 'png').",
)
@click.option("--open", "open_it", is_flag=True, help="Show the report in the browser.")
@question_option
@click.option(
    "--why",
    is_flag=True,
    help="Print why the run was as fast as it was: what its plan was chosen from. Writes nothing.",
)
def command(
    run: Path,
    form: str,
    out: Path | None,
    png: Path | None,
    open_it: bool,
    question: str,
    why: bool,
) -> None:
    r"""Write the report of RUN, the folder of a run (or its run.sqlite), or of a search.

    The page is one file without scripts or requests. It is made from the rows alone, so it can be
    made while the run goes on, and where torch is not installed.

    \b
    Examples:
      droplab report runs/digits --open
      droplab report runs/digits --png figure.png
      droplab report runs/digits --format md --out -
    """
    if why:
        if out is not None or png is not None or open_it:
            raise ArgumentError(
                "--why: writes no file, so it goes without --out, --png and --open; leave them out"
            )
        _print_why(run)
        return
    to_terminal = out == Path("-")
    if to_terminal and (form == "png" or open_it):
        what = "a picture" if form == "png" else "what is opened in the browser"
        raise ArgumentError(f"--out: expected a file for {what}, got -; name the file")
    folder = run if run.is_dir() else run.parent
    page = out if out is not None else folder / f"report.{form}"
    if to_terminal:
        click.echo(report_text(run, form, question), nl=False)
    else:
        write_report(run, page, form=form, question=question)
        click.echo(f"Report: {page}")
    if png is not None:
        write_report(run, png, form="png", question=question)
        if not to_terminal:
            click.echo(f"Figure: {png}")
    if open_it:
        webbrowser.open(page.absolute().as_uri())


def _print_why(run: Path) -> None:
    """Print how a run was executed and what that was chosen from."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from droplab.results import choices_note, load, plan_choices, plan_sentence

    console = Console()
    plan = load(run).plan
    for line in (plan_sentence(plan), choices_note(plan)):
        console.print(escape(line), highlight=False, soft_wrap=True)
    choices = plan_choices(plan)
    if not choices:
        return
    table = Table("execution", "step of a replica", "all steps", "why")
    for each in choices:
        style = "bold" if each.chosen else None
        row = (each.plan, each.step, each.total, each.verdict)
        table.add_row(*map(escape, row), style=style)
    console.print(table)


def report_text(run: Path, form: str, question: str = BOTH) -> str:
    """Return a run's report as "html" or "md".

    Raises:
        RunError: There is no run, or it has no finished epoch.
    """
    from droplab.report import render, render_markdown
    from droplab.results import SEARCH_FILE, load, load_search
    from droplab.verdict import judge

    if (run / SEARCH_FILE).is_file():
        if form != "html":
            raise ArgumentError(
                f"--format: a search has a page, and its verdict is a run: report {run}/confirmed"
            )
        from droplab.report import render_search

        return render_search(load_search(run), run.name)
    result = load(run)
    verdict = judge(result, question=asked(question))
    return (render_markdown if form == "md" else render)(result, verdict)


def write_report(
    run: Path,
    out: Path,
    *,
    form: str = "html",
    question: str = BOTH,
) -> None:
    """Write a run's report, or its main figure as a picture, to `out`.

    Args:
        run: The run's folder, or its run.sqlite.
        out: Where the report goes.
        form: One of `FORMATS`.
        question: What is asked: see `asked`.

    Raises:
        RunError: There is no run, it has no finished epoch, or a file cannot be written.
        BackendError: A figure is wanted and resvg-py is not installed.
    """
    written(out, None if form == "png" else report_text(run, form, question))
    if form == "png":
        _write_figure(run, out, question)


def written(out: Path, text: str | None) -> None:
    """Write a text where it is wanted; None makes the folder alone.

    Raises:
        RunError: It cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{out}: the report cannot be written ({error.strerror or error}); choose another place"
        ) from error


def _write_figure(run: Path, out: Path, question: str) -> None:
    from droplab.report import figure_png
    from droplab.results import load
    from droplab.verdict import judge

    result = load(run)
    figure_png(result, judge(result, question=asked(question)), out)
