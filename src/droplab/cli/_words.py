"""The command line that makes a run again, from the one that was given."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
from click.core import ParameterSource

_NOT_THE_RUN = frozenset(
    {
        *(
            "out",
            "report",
            "resume",
            "changed_code",
            "require_target",
            "as_json",
            "quiet",
            "verbose",
        ),
        *("budget", "plan", "device", "executor", "address", "gpus_per_trial"),
    }
)
"""What says where a run is kept, what is shown, or what its seeds and its plan already hold."""


def command_line() -> str:
    """Return the words of the command that is running, quoted for a shell; "" if there is none.

    Paths are as they were given. What does not change the run is left out.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.command.name not in {"run", "sweep", "judge"}:
        return ""
    return shlex.join(["droplab", context.command.name, *_given(context)])


def _given(context: click.Context) -> Iterator[str]:
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name in _NOT_THE_RUN:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            yield str(value)
        elif value is True:
            yield parameter.opts[0]
        else:
            for each in value if isinstance(value, tuple) else (value,):
                yield from (parameter.opts[0], str(each))
