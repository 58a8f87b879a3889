"""`-v`: what is decided and written, told on stderr."""

from __future__ import annotations

import logging

import click


class _ToStderr(logging.Handler):
    """Writes to what stderr is by then, which a progress bar replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def listen() -> None:
    """Tell on stderr what every room of droplab logs."""
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("droplab")
    logger.handlers[:] = [handler]  # one, however often a process calls this
    logger.setLevel(logging.DEBUG)


def _listen(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        listen()


verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_listen,
    help="Tell on stderr what is planned, recorded and written, and when workers start and end.",
)
"""The option, for every command that trains, and before the name of any command."""
