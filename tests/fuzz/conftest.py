"""Shared by the fuzzers: how many cases, what a case may do, and what is put into it.

CI runs a few hundred cases of each with a fixed seed. By hand, any number with another seed:

    DROPLAB_FUZZ=5000 DROPLAB_FUZZ_SEED=7 pytest tests/fuzz
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

import pytest

from droplab.cli import main
from droplab.errors import DroplabError
from droplab.limits import MESSAGE, PROBLEMS
from droplab.recipe import load
from droplab.studies import resolve

SECONDS, WAITING = 5, 60
"""Processor time that a case may take, and time in which it may wait for something."""

NUMBERS = (
    *("0", "-1", "1", "3", "0.5", "-0.0", "1e-9", "1e308", "1e400", "-1e400", "nan", "inf", "-inf"),
    *("9" * 5000, "0x" + "f" * 6000, "1" + "0" * 400, str(2**63), str(-(2**63)), str(10**18)),
    *("0.99999999", "1e-400", "1e999999999", "1_000", "1979-05-27T07:32:00Z", "07:32:00", "true"),
    *("٣", "1.", ".5", "+5", "0o17", "1e", "--1"),
)
WORDS = (
    *("", " ", "x" * 70_000, "a." * 3000 + "b", "a.b:" + "c" * 5000, "../" * 2000, "/dev/zero"),
    *("\0", "\x1b[31mred", "line\nline", "é中🙂", "\u202e", "'", '"', "\\", "a:b", "math:pi"),
    *("torch.nn:Linear", "torch.nn:Identity", "json:loads", "none", "fc1", "fc2", "mlp", "Adam"),
    *("LBFGS", "SGD", "SparseAdam", "digits", "test", "train_loss", ">= 0.5", "~", ".", "..", "-"),
    *("re:(", "re:" + "(a+)+" * 5 + "$", "type:Linear", "*", "[", "]" * 3000, "%s", "{}", "\ufeff"),
)
SHAPES = (
    *(
        "[" * 5000,
        "[" * 40 + "]" * 40,
        "{a=" * 40 + "1" + "}" * 40,
        "{a=" * 3000,
        "[" + "1," * 9000,
    ),
    *("[1, 'a', {}]", "{}", "[]", "[[], [[]]]", "'''", '"""', "[[[", "{a.b.c = 1, a = 2}", "[,]"),
)


@pytest.fixture
def count() -> int:
    return int(os.environ.get("DROPLAB_FUZZ", "200"))


@pytest.fixture
def rng(request) -> random.Random:
    return random.Random(f"{os.environ.get('DROPLAB_FUZZ_SEED', '1')} {request.node.name}")


class Hangs(BaseException):  # nothing that looks for errors catches it
    pass


@contextlib.contextmanager
def _bounded_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hangs(f"a case takes more than {SECONDS} seconds, or waits for {WAITING}")

    clocks = {
        signal.SIGPROF: (signal.ITIMER_PROF, SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITING),
    }
    before = {name: signal.signal(name, stop) for name in clocks}
    for clock, seconds in clocks.values():
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for name, (clock, _) in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(name, before[name])


@pytest.fixture(scope="session", autouse=True)
def _loaded() -> None:
    """What is imported at first use is not in the time of a case."""
    resolve(load("digits"))
    import torch._dynamo  # noqa: F401


def _is_plain(message: str) -> None:
    assert message.strip()
    assert len(message) <= MESSAGE, f"{len(message)} letters"
    assert message.count("\n") <= PROBLEMS + 2, f"{message.count(chr(10))} lines"
    assert "\x1b" not in message
    assert "Traceback" not in message


@pytest.fixture
def failures() -> Iterator[dict[str, str]]:
    """Kind of failure -> its first case; all kinds are told together."""
    found: dict[str, str] = {}
    yield found
    if found:
        pytest.fail("\n\n".join(f"{kind}\n{case}" for kind, case in found.items()))


@pytest.fixture
def attempt(failures) -> Callable[..., bool]:
    """Call a function; return whether it worked. What it raises is one of ours, and bounded."""

    def call(function: Callable[[], object], case: object) -> bool:
        try:
            with _bounded_time():
                function()
        except DroplabError as error:
            wrong = _wrong(str(error))
            if wrong:
                failures.setdefault(wrong, f"{str(error)[:300]}\n{_case(case)}")
            return False
        except (Exception, Hangs) as error:
            kind = f"{type(error).__name__} in {_place(error)}"
            failures.setdefault(kind, f"{str(error)[:300]}\n{_case(case)}")
            return False
        return True

    return call


def _place(error: BaseException) -> str:
    """Return where an error comes from, by the two innermost lines outside of this file."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in frames[:-3:-1])


def _wrong(message: str) -> str:
    """Return what is wrong with an error message, "" if it is as it should be."""
    if not message.strip():
        return "an empty message"
    if len(message) > MESSAGE:
        return "a message that is too long"
    if message.count("\n") > PROBLEMS + 2:
        return "a message of too many lines"
    # Bytes of file names that are not UTF-8 are left to the stream that they are written to.
    shown = re.sub("[\n\t\udc80-\udcff]", "", message)
    return "" if shown.isprintable() else "control signs"


@pytest.fixture
def command(monkeypatch, failures) -> Callable[..., int]:
    """Call the command line; return its code, which is not that of a defect."""

    def call(args: list[str]) -> int:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        code: object = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), "utf-8"))
            try:
                with _bounded_time():
                    main(args)
            except SystemExit as stop:
                code = stop.code or 0
            except Hangs as error:
                failures.setdefault(f"hangs in {_place(error)}", _case(args))
                return 2
        err.flush()
        text = err.buffer.getvalue().decode()
        if code not in (0, 1, 2):
            failures.setdefault(f"exit code {code}: {text[:90]}", f"{text[:600]}\n{_case(args)}")
        if code == 2:
            message = text[max(0, text.lower().rfind("error:")) :].rstrip("\n")
            wrong = _wrong(message.partition(": ")[2])
            if wrong:
                failures.setdefault(wrong, f"{text[:600]}\n{_case(args)}")
        return code if isinstance(code, int) else 1

    return call


def _case(case: object) -> str:
    text = repr(case)
    return text if len(text) < 4000 else f"{text[:2000]} ... {text[-500:]}"


@pytest.fixture
def mutate(rng) -> Callable[[str], str]:
    """Return a text with a few wounds: what stands there cut, doubled or replaced."""

    def once(text: str) -> str:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        line = lines[at]
        key, equals, _ = line.partition("=")
        kind = rng.randrange(8)
        if kind <= 3 and equals:
            lines[at] = f"{key}= {value(rng)}"
        elif kind == 4:
            lines.insert(rng.randrange(len(lines)), line)
        elif kind == 5:
            del lines[at]
        elif kind == 6:
            lines[at] = f"{rng.choice(WORDS)}{'.' * rng.randrange(2)}{line}"
        else:
            place = rng.randrange(len(text) + 1)
            return text[:place] + rng.choice([*WORDS, *SHAPES]) + text[place + rng.randrange(9) :]
        return "\n".join(lines)

    def call(text: str) -> str:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            text = once(text)
        return text

    return call


def value(rng: random.Random) -> str:
    """Return something that stands where TOML has a value."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(SHAPES)
    if kind == 2:
        word = rng.choice(WORDS)
        return f"'{word}'" if word.isprintable() and "'" not in word else f'"{word}"'
    return "[" + ", ".join(rng.choice(NUMBERS) for _ in range(rng.randrange(1, 5))) + "]"


@pytest.fixture
def nasty(rng) -> Callable[[], str]:
    """Return a word or a number as somebody may type it at an option."""
    return lambda: rng.choice((*NUMBERS, *WORDS, *SHAPES))
