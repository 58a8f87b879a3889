"""The process that runs snippets and options, and what it tells of them.

It imports torch once and reads a job a line. A snippet runs once, in a fork of it, and each option
in a fork of that: an option may change what all of torch shares. Where there is no fork, a process
runs one option and is used for nothing else.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib
import io
import json
import os
import random
import signal
import string
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from droplab.child import Output

PRINTED_AT_MOST = 20_000
EXTRA_MEMORY = 2 << 30
"""Bytes that an option may ask for beyond what torch itself takes."""

_PIECE = 300
"""Characters of a text in one message: so short, it reaches a pipe whole beside others."""

_ORPHANED = 60
"""Seconds that an option outlives its time limit if whoever should end it is gone."""

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Do the jobs on the input, a JSON object a line, until it ends."""
    import torch

    torch.set_num_threads(1)
    output = Output()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        # What an option leaves running becomes a child of this process, which can wait for its end.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for line in sys.stdin.buffer:
        job: dict[str, Any] = json.loads(line)
        _preload(job["snippet"])
        if not job["options"]:
            continue
        output.send(torch=torch.__version__)
        answer = partial(_answer, job, output)
        if job["fork"]:
            group = _fork(answer, job["seconds"], leads=True)
            status = _end_in_time(group, job["seconds"])
            if status is not None:
                output.send(status=status)
            _reap(group)
        else:
            _set_alarm(job["seconds"])
            answer()
            output.send(status=0)
        output.send(done=True)


def _answer(job: Mapping[str, Any], output: Output) -> None:
    """Run the snippet, then every option."""
    if job["fork"]:
        output.send(group=os.getpid())
    report = _Report(output)
    _settle(report)
    names: dict[str, Any] = {"__name__": "snippet"}
    with contextlib.suppress(_StoppedError):
        _run_stage("snippet", job["snippet"], names, report)
        options = [
            partial(_run_option, option, names, _Report(output, option=number))
            for number, option in enumerate(job["options"])
        ]
        if job["fork"]:
            _in_forks(
                options,
                job["seconds"],
                lambda option, status: output.send(option=option, status=status),
            )
        else:
            options[0]()


def _fork(task: Callable[[], None], seconds: float, *, leads: bool = False) -> int:
    """Begin a task in a fork of this process, which may lead a group of its own; return its id."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            if leads:
                os.setpgid(0, 0)
            _set_alarm(seconds)
            task()
            status = 0
        finally:
            os._exit(status)
    if leads:
        with contextlib.suppress(OSError):  # the fork has done so itself, and may have ended
            os.setpgid(pid, pid)
    return pid


def _in_forks(
    tasks: Sequence[Callable[[], None]], seconds: float, ended: Callable[[int, int], None]
) -> None:
    """Run each task in a fork of this process; tell the number and the exit status of each."""
    running = {_fork(task, seconds): number for number, task in enumerate(tasks)}
    while running:
        pid, status = os.wait()
        if pid in running:
            ended(running.pop(pid), os.waitstatus_to_exitcode(status))


def _end_in_time(group: int, seconds: float) -> int | None:
    """Wait for the leader of a group, then kill the group; return its status, None if too late."""
    late = False

    def end(*_: object) -> None:
        nonlocal late
        late = True
        _kill(group)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _, status = os.waitpid(group, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _kill(group)
    return None if late else os.waitstatus_to_exitcode(status)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _reap(group: int) -> None:
    """Wait for the end of a killed group; what has left it can go on, and is not waited for."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _set_alarm(seconds: float) -> None:
    """Let the system end this process if nobody is left who ends it when its time is over."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + _ORPHANED)


class _StoppedError(Exception):
    """The code raised an error, which has been told; nothing after it runs."""


class _Report(io.TextIOBase):
    """What a snippet or an option tells; stands in for `sys.stdout` too, up to a limit."""

    def __init__(self, output: Output, **whose: int) -> None:
        self.send = partial(output.send, **whose)
        self._left = PRINTED_AT_MOST

    def text(self, kind: str, text: str) -> None:
        for start in range(0, len(text), _PIECE):
            self.send(**{kind: text[start : start + _PIECE]})

    def raised(self, error: BaseException) -> None:
        text = str(error).strip()
        kind = type(error).__name__
        self.text("raised", (f"{kind}: {text}" if text else kind)[:2000])

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._left > 0 and text:
            self.text("printed", text[: self._left])
            if len(text) > self._left:
                self.text("printed", "\n... (it printed more, which is not shown)")
            self._left -= len(text)
        return len(text)


def _run_option(option: Mapping[str, str], names: dict[str, Any], report: _Report) -> None:
    """Run an option's own code and its check, and tell whether it holds and what was seen."""
    sys.stdout = sys.stderr = report
    with contextlib.suppress(_StoppedError):
        for stage in ("option", "then"):
            if option[stage]:
                _run_stage(stage, option[stage], names, report)
        holds = _run_stage("check", option["check"], names, report)
        try:
            if not isinstance(holds, bool):
                raise TypeError(f"a check must end in True or False, not in {holds!r}")
            report.text("saw", _fill(option["saw"], names))
            report.send(holds=holds)
        except Exception as error:
            report.raised(error)


def _settle(report: _Report) -> None:
    """Make this process safe for code that may hang, crash, eat memory or print without end."""
    import torch

    torch.manual_seed(0)
    random.seed(0)
    # After torch, as its libraries take address space too.
    _limit_memory()
    # An input at its end: `input()` fails instead of waiting. And what C prints is not kept.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdin = open(nowhere, encoding="utf-8")  # noqa: PTH123, SIM115 # a descriptor, open until the process ends
    sys.stdout = sys.stderr = report
    warnings.showwarning = _show_warning


def _run_stage(stage: str, code: str, names: dict[str, Any], report: _Report) -> Any:
    """Run `code` and return the value of its last line if that is an expression.

    Raises:
        _StoppedError: If the code raised an error.
    """
    report.send(stage=stage)
    process = os.getpid()
    try:
        tree = ast.parse(code, f"<{stage}>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"<{stage}>", "exec"), names)
        if isinstance(last, ast.Expr):
            return eval(compile(ast.Expression(last.value), f"<{stage}>", "eval"), names)
    except BaseException as error:
        if os.getpid() == process:
            report.raised(error)
        raise _StoppedError from None
    finally:
        if os.getpid() != process:  # a fork that the code has made: it has nothing to tell
            os._exit(0)
    return None


def _fill(text: str, names: Mapping[str, Any]) -> str:
    """Return `text` with each {expression} replaced by its value, as in an f-string."""
    parts: list[str] = []
    for literal, expression, form, _ in string.Formatter().parse(text):
        parts.append(literal)
        if expression:
            parts.append(format(eval(expression, dict(names)), form or ""))
    return "".join(parts)


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


def _preload(code: str) -> None:
    """Import what the snippet imports, once for all that run it."""
    wanted = list[str]()
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted.append(node.module)
    if "optim" in code:
        # A torch optimizer imports this at its first step, which takes a second or two.
        wanted.append("torch._dynamo")
    for name in wanted:
        # What fails here fails again in the snippet, where it is told to the reader.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
