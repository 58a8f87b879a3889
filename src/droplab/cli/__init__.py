"""The command line: one file a command, each imported when it is called."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from droplab import __version__
from droplab.cli._encoding import HANDLER, prepare_streams
from droplab.cli._verbose import verbose
from droplab.errors import DroplabError, bounded, nearest, quote

COMMANDS = {
    "run": "Run a recipe: every arm and seed, then the before/after table.",
    "sweep": "Try many dropout rates at once, every seed each.",
    "search": "Search where dropout goes and how much, then judge it on fresh ground.",
    "study": "Run your own training script under every arm and seed.",
    "plan": "Say what a recipe takes and what its seeds can see, before it runs.",
    "demo": "Run the main experiment on real data and write its report.",
    "judge": "Judge results that droplab did not make, from a table.",
    "report": "Write a run's report as one HTML file.",
    "compare": "Put runs side by side, with what differs between them.",
    "uncertainty": "Predict by many passes with dropout, against the plain pass.",
    "export": "Write a trained model to a file that runs without droplab.",
    "recipes": "List and show the built-in recipes.",
    "data": "List, fetch and find the data sets.",
    "sites": "List where dropout can go in a model.",
    "patch": "Write dropout into a model's source file.",
    "check": "Find dropout that is used wrongly.",
    "practice": "Answer questions about dropout and see each answer run.",
    "lab": "Run, watch and learn in the browser, on this machine only.",
    "selftest": "Check the masks on this machine.",
}
"""Every command with the line that `droplab --help` shows for it."""

BAD_INPUT, INTERRUPTED, BUG = 2, 130, 70


class _Commands(click.Group):
    """Imports a command's module when it is called, so that `--help` loads nothing heavy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return _with_lines_kept(importlib.import_module(f"droplab.cli.{cmd_name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {quote(args[0])}{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


def _with_lines_kept(command: click.Command) -> click.Command:
    """Write the mark before lines that are not to be wrapped as click reads it.

    In a docstring that is raw, as those with a backslash are, it is two letters.
    """
    if command.help is not None:
        command.help = command.help.replace("\\b\n", "\b\n")
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _with_lines_kept(each)
    return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="droplab")
@verbose
def group() -> None:
    """Dropout, done right: controlled experiments with PyTorch networks."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; no traceback reaches the user.

    Exit codes: 0 done, 1 a target was missed or something was found, 2 bad input, 130 interrupted,
    70 a defect in droplab (its traceback is written to a file that the message names).
    """
    end = _End()
    if argv is None:
        atexit.register(end)  # the first one that is registered is the last that is called
    try:
        end.code = _code_of(argv)
    except SystemExit as stop:  # one with a text, which Python shows, is of somebody else's code
        end.code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        raise
    sys.exit(end.code)


class _End:
    """Ends this process, which is nothing but a command, when all else has been closed.

    To take torch apart piece by piece, as Python would, takes a second: as long as many a command.

    Attributes:
        code: The exit code.
    """

    code = 1

    def __call__(self) -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(self.code)


def _code_of(argv: Sequence[str] | None) -> int:
    prepare_streams()
    try:
        code = group.main(args=argv, prog_name="droplab", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        text = bounded(error.format_message())
        error.format_message = lambda: text
        error.show()
        code = BAD_INPUT
    except DroplabError as error:
        click.echo(f"error: {error}", err=True)
        code = BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone, as in `droplab ... | head`
        sys.stderr.close()
        code = 0
    except SystemExit as stop:
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        code = 0  # the same, where rich has noticed it
    except Exception as error:
        words = _of_the_machine(error)
        if words:
            click.echo(f"error: {bounded(words)}", err=True)
            return BAD_INPUT
        click.echo(
            f"error: droplab failed with {type(error).__name__}: {bounded(str(error))}\n"
            f"This is a defect in droplab. The traceback is in {_keep_traceback()}; please report "
            "it with the command that you ran.",
            err=True,
        )
        code = BUG
    return code if isinstance(code, int) else 0


_MACHINE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOMEM),
    }
)
"""System errors that are about a machine and its files, not about droplab."""


def _of_the_machine(error: Exception) -> str:
    """Return what the machine lacks or refuses, which is no defect of droplab; "" otherwise."""
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("can't allocate memory", "out of memory"))
    )
    return "there is not enough memory for what was asked; take smaller sizes" if memory else ""


def _keep_traceback() -> Path:
    with tempfile.NamedTemporaryFile(
        "w", prefix="droplab-", suffix=".txt", delete=False, encoding="utf-8", errors=HANDLER
    ) as file:
        file.write(traceback.format_exc())
    return Path(file.name)
