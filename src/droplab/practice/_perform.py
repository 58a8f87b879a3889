"""Runs a snippet, an option and its check, in a process that exists for nothing else."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import random
import signal
import string
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PRINTED_AT_MOST = 20_000
EXTRA_MEMORY = 2 << 30
"""Bytes that a snippet may ask for beyond what torch itself takes."""


class Channel:
    """Writes what happens to a file descriptor, an object a line, so that a crash loses none.

    Args:
        descriptor: Where they go; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, **message: Any) -> None:
        line = (json.dumps(message) + "\n").encode()
        while line:
            line = line[os.write(self.descriptor, line) :]


class Printed(io.TextIOBase):
    """Stands in for `sys.stdout` and sends what is printed, up to a limit."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left = PRINTED_AT_MOST

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._left > 0 and text:
            self._channel.send(printed=text[: self._left])
            if len(text) > self._left:
                self._channel.send(printed="\n... (it printed more, which is not shown)")
            self._left -= len(text)
        return len(text)


class StoppedError(Exception):
    """The code raised an error, which has been told; nothing after it runs."""


def settle(channel: Channel) -> None:
    """Make this process safe for code that may hang, crash, eat memory or print without end."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    # After torch, as its libraries take address space too.
    _limit_memory()
    # An input at its end: `input()` fails instead of waiting.
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 # for good
    sys.stdout = sys.stderr = Printed(channel)
    warnings.showwarning = _show_warning


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the system end this process if the block takes longer, wherever it hangs.

    Where there is no such timer (Windows), whoever started the process ends it.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_stage(stage: str, code: str, names: dict[str, Any], channel: Channel) -> Any:
    """Run `code` and return the value of its last line if that is an expression.

    Raises:
        StoppedError: If the code raised an error.
    """
    channel.send(stage=stage)
    try:
        tree = ast.parse(code, f"<{stage}>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"<{stage}>", "exec"), names)
        if isinstance(last, ast.Expr):
            return eval(compile(ast.Expression(last.value), f"<{stage}>", "eval"), names)
    except BaseException as error:
        channel.send(raised=_in_words(error))
        raise StoppedError from None
    return None


def run_option(option: Mapping[str, str], names: dict[str, Any], channel: Channel) -> None:
    """Run an option's own code and its check, and tell whether it holds and what was seen."""
    with contextlib.suppress(StoppedError):
        for stage in ("option", "then"):
            if option[stage]:
                run_stage(stage, option[stage], names, channel)
        holds = run_stage("check", option["check"], names, channel)
        try:
            if not isinstance(holds, bool):
                raise TypeError(f"a check must end in True or False, not in {holds!r}")
            channel.send(holds=holds, saw=fill(option["saw"], names))
        except Exception as error:
            channel.send(raised=_in_words(error))


def fill(text: str, names: Mapping[str, Any]) -> str:
    """Return `text` with each {expression} replaced by its value, as in an f-string."""
    parts: list[str] = []
    for literal, expression, form, _ in string.Formatter().parse(text):
        parts.append(literal)
        if expression:
            parts.append(format(eval(expression, dict(names)), form or ""))
    return "".join(parts)


def _in_words(error: BaseException) -> str:
    text = str(error).strip()
    kind = type(error).__name__
    return (f"{kind}: {text}" if text else kind)[:2000]


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    print(f"{category.__name__}: {message}")


def _limit_memory() -> None:
    """Limit the address space where the platform knows how, and write no core files."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return
    limit = pages * resource.getpagesize() + EXTRA_MEMORY
    ceiling = resource.getrlimit(resource.RLIMIT_AS)[1]
    if ceiling == resource.RLIM_INFINITY or limit < ceiling:
        resource.setrlimit(resource.RLIMIT_AS, (limit, ceiling))
