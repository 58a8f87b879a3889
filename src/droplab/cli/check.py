"""`droplab check`: find dropout that is used wrongly."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from droplab import __version__
from droplab.cli._model_file import load_model, model_options, read_arguments
from droplab.errors import ArgumentError, BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from droplab.doctor import Finding, Severity

CLEAN, FINDINGS = 0, 1
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@click.command("check", short_help="Find dropout that is used wrongly.")
@click.argument("paths", nargs=-1, metavar="[PATH | FILE.py:NAME]...")
@model_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help="How to print the findings.",
)
@click.option(
    "--select",
    multiple=True,
    metavar="CODES",
    help="Only these checks; ALL for every one, with those that --list calls optional.",
)
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these checks.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Files and folders to leave out.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note"]),
    default="warning",
    show_default=True,
    help="The least severity that makes the exit code 1.",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Leave out the findings that this file lists.",
)
@click.option(
    "--update-baseline", is_flag=True, help="Write all findings into the file of --baseline."
)
@click.option("--explain", metavar="CODE", help="Print the page of a check and exit.")
@click.option(
    "--stdin-filename", metavar="PATH", help="Read the text from stdin, as if it were this file."
)
@click.option("--fix", is_flag=True, help="Mend what can be mended safely, in place.")
@click.option(
    "--unsafe-fixes",
    is_flag=True,
    help="With --fix, mend also what changes the numbers of a training that ran.",
)
@click.option("--no-cache", is_flag=True, help="Parse every file, and leave .droplab_cache alone.")
@click.option("--lsp", is_flag=True, help="Serve an editor over stdin and stdout.")
@click.option("--list", "listing", is_flag=True, help="List the checks and exit.")
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    given: tuple[str, ...],
    arguments: str | None,
    examples: tuple[str, ...],
    form: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    fail_on: Severity,
    baseline: Path | None,
    update_baseline: bool,
    explain: str | None,
    stdin_filename: str | None,
    fix: bool,
    unsafe_fixes: bool,
    no_cache: bool,
    lsp: bool,
    listing: bool,
) -> None:
    r"""Find dropout that is used wrongly, in source or in a live model.

    Files, folders and notebooks are read, never imported; without a path, the current folder.
    FILE.py:NAME with --example imports the file, makes the model NAME and runs it.

    Codes are "DRP001", prefixes ("DRP03") or names ("on-logits"), separated by commas. Settings are
    read from [tool.droplab.check] in pyproject.toml.

    Exit code: 0 nothing found, or notes alone (--fail-on), 1 findings, 2 bad input.

    \b
    Examples:
      droplab check src
      droplab check --select DRP03 train.py
      droplab check --baseline doctor.json --update-baseline src
      droplab check --explain DRP006
      droplab check nets.py:Net --example 8x1x28x28
    """
    from droplab.doctor import load_settings

    if listing:
        _list()
        return
    if explain is not None:
        _explain(explain)
        return
    if lsp:
        _serve()
        return
    if update_baseline and baseline is None:
        raise ArgumentError("--update-baseline: expected --baseline FILE to write to, got none")
    if stdin_filename is not None and paths == ("-",):  # as other linters want it
        paths = ()
    if stdin_filename is not None and (paths or fix):
        raise ArgumentError("--stdin-filename: expected no path and no --fix beside it")
    named = (stdin_filename,) if stdin_filename is not None else paths
    if unsafe_fixes and not fix:
        raise ArgumentError("--unsafe-fixes: expected --fix beside it, got none")
    settings = load_settings(_home(named)).override(
        select=_split(select), ignore=_split(ignore), exclude=exclude
    )
    targets = [path for path in paths if _is_target(path)]
    if targets and not examples:
        raise ArgumentError(
            f"{targets[0]}: expected --example with the shape of its input, such as "
            "--example 64x1x28x28, got none; a model is run, not read"
        )
    if (examples or arguments or given) and (len(targets) != 1 or len(paths) != 1):
        raise ArgumentError(
            "--example: expected exactly one model, as FILE.py:NAME, got "
            f"{' '.join(paths) or 'no path'}"
        )
    if targets:
        if fix:
            raise ArgumentError("--fix: expected files to mend, got a model that is run")
        from droplab.cli._example import read_examples
        from droplab.doctor import examine

        model = load_model(targets[0], read_arguments(given, arguments))
        with contextlib.redirect_stdout(sys.stderr):
            found = examine(model, read_examples(examples, model))
        found = [item for item in found if settings.wants(item.code, item.path, item.found_by)]
        _print(found, form, what=f"{targets[0]}", files=None, fixed=[])
    elif stdin_filename is not None:
        from droplab.doctor import check_text

        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        found = check_text(text, path=stdin_filename, settings=settings)
        found = _new(found, baseline, update=update_baseline)
        _print(found, form, what=stdin_filename, files=1, fixed=[])
    else:
        from droplab.doctor import Cache, Settings, check

        home = (settings.root or Path()) / ".droplab_cache"
        report = check(
            paths or (".",),
            settings=settings,
            fix=fix,
            unsafe_fixes=unsafe_fixes,
            jobs=min(os.cpu_count() or 1, 8),
            cache=None if no_cache else Cache(home, __version__),
        )
        found = _new(report.findings, baseline, update=update_baseline)
        noun = "file" if report.files == 1 else "files"
        _print(
            found, form, what=f"{report.files} {noun}", files=report.files, fixed=[*report.fixed]
        )
        if form == "text" and not found and settings.select == Settings().select:
            _say_what_is_optional()
    grave = _SEVERITIES[: _SEVERITIES.index(fail_on) + 1]
    ctx.exit(FINDINGS if any(finding.severity in grave for finding in found) else CLEAN)


def _say_what_is_optional() -> None:
    """Say on stderr that finding nothing says nothing about the optional checks."""
    from droplab.doctor import CODES

    rows = [row for row in CODES.values() if row.optional]
    proven = ", ".join(row.code for row in rows if row.provable)
    others = ", ".join(row.code for row in rows if not row.provable)
    click.echo(
        f"Not looked for: {others}, which reading often gets wrong, and of {proven} all that is "
        "not proven; --select ALL does.",
        err=True,
    )


def _new(found: Sequence[Finding], baseline: Path | None, *, update: bool) -> list[Finding]:
    """Return the findings that a baseline does not list; none, where it has just been written."""
    if baseline is None:
        return list(found)
    from droplab.doctor import without_baseline, write_baseline

    if update:
        write_baseline(baseline, found)
    return without_baseline(baseline, found)


def _explain(code: str) -> None:
    from droplab.doctor import CODES, expand

    for item in sorted(expand([code], where="--explain")):
        click.echo(CODES[item].explanation)


def _serve() -> None:
    try:
        from droplab.doctor.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise BackendError(
            "--lsp: the language server needs pygls, which is not installed; "
            "pip install 'droplab[lsp]'"
        ) from None
    serve(__version__)


def _home(paths: tuple[str, ...]) -> Path:
    """Return the folder whose pyproject.toml counts: that of the first path."""
    first = Path(
        paths[0].rpartition(":")[0] if paths and _is_target(paths[0]) else (*paths, ".")[0]
    )
    return first if first.is_dir() else first.parent


def _is_target(path: str) -> bool:
    file, colon, name = path.rpartition(":")
    return bool(colon) and file.endswith(".py") and bool(name) and not Path(path).exists()


def _split(values: tuple[str, ...]) -> list[str]:
    return [item for value in values for item in value.split(",") if item.strip()]


def _print(
    found: list[Finding], form: str, *, what: str, files: int | None, fixed: list[Finding]
) -> None:
    from droplab.doctor import formats

    if form == "json":
        more: dict[str, Any] = {"files": files} if files is not None else {"model": what}
        click.echo(formats.json_document(found, fixed=[f.to_dict() for f in fixed], **more))
    elif form == "sarif":
        click.echo(formats.sarif(found, version=__version__))
    elif form == "github":
        if found:
            click.echo(formats.github(found))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        if found:
            console.print(formats.text(found), soft_wrap=True)
        console.print(_summary(found, what, len(fixed)), soft_wrap=True, markup=False)


def _summary(found: list[Finding], what: str, fixed: int) -> str:
    mended = f"{fixed} fixed. " if fixed else ""
    if not found:
        return f"{mended}Nothing found in {what}."
    noun = "finding" if len(found) == 1 else "findings"
    easy = sum(finding.fixable for finding in found)
    hard = sum(bool(finding.edits) and finding.unsafe for finding in found)
    fixes = [
        *([f"{easy} of them with a safe fix (--fix)"] if easy else []),
        *([f"{hard} of them with an unsafe fix (--fix --unsafe-fixes)"] if hard else []),
    ]
    return f"{mended}{len(found)} {noun} in {what}{''.join(f', {fix}' for fix in fixes)}."


def _list() -> None:
    from droplab.doctor import CODES

    for code in CODES.values():
        click.echo(f"{code.code} {code.name:<26}{code.title} ({code.marks})")
