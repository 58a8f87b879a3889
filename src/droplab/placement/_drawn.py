"""Every random draw while a model runs: which function made it, in which module, at which line."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_NAMES = (
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("bernoulli", "normal", "multinomial", "poisson", "binomial", "rrelu", "rrelu_"),
)
_METHODS = (
    *("bernoulli", "bernoulli_", "uniform_", "normal_", "multinomial", "random_", "exponential_"),
    *("geometric_", "cauchy_", "log_normal_"),
)
_FUNCTIONS = ("rrelu", "rrelu_", "gumbel_softmax")

_DRAWING: dict[Any, str] = {
    **{getattr(F, name): f"F.{name}" for name in _FUNCTIONS},
    **{getattr(torch.Tensor, name): f"Tensor.{name}" for name in _METHODS},
    **{getattr(torch, name): f"torch.{name}" for name in _NAMES},
}

_LOW = 2.0**-20
"""The lowest number: not 0 itself, which code that asks for `rand > p` drops at p = 0."""

_WORDS = (0xC099132, 0x12DD9BB3)
"""Words of a Mersenne Twister's state that come out as 1 << 12, and as 32 ones."""

_ANSWERS = 200
"""How often one line gets the same number: a loop that waits for another would not end."""


@dataclass(frozen=True)
class Drawn:
    """One place that draws random numbers, other than by a function that drops.

    Args:
        owner: Path of the innermost module whose `forward` was running.
        function: What drew, "torch.rand" or "numpy.random.rand".
        where: File and line of the code that called it; empty where that could not be seen.
    """

    owner: str
    function: str
    where: str


def drawing_name(func: Any, kwargs: Mapping[str, Any]) -> str:
    """Return the name of a function of torch that draws; "" for any other."""
    if func in (F.rrelu, torch.rrelu) and not kwargs.get("training", True):
        return ""
    return _DRAWING.get(func, "")


_HERE = str(Path(__file__).parents[1])
_LIBRARIES = tuple(f"{Path(path).parent}/" for path in (torch.__file__, f"{_HERE}/x"))


def calling_line(frame: FrameType | None) -> str:
    """Return file and line of the code outside torch, numpy and droplab that is running."""
    while frame is not None:
        file = frame.f_code.co_filename
        own = frame.f_globals.get("__name__", "").partition(".")[0] in ("random", "numpy")
        if not (own or file.startswith(_LIBRARIES)):
            return f"{_shown(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _shown(file: str) -> str:
    """Return a path as short as it stays clear: from the working directory, or the package on."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return file


class Extremes:
    """Answers draws with the lowest or the highest number there is, the same every time.

    What a rate of 0 or 1 has silenced does not change with the answer, and what is skipped at
    random is skipped by one of both: no luck is in it, as there is in trying several seeds.

    Args:
        high: Whether the numbers are high ones.
    """

    def __init__(self, high: bool) -> None:
        self.high = high
        self.u = 1 - _LOW if high else _LOW
        self.words = [_WORDS[high]] * 600 + [*range(1, 25)]
        self.answers: dict[str, int] = {}

    def begin(self) -> None:
        """Let Python's and numpy's generators begin with some 300 such numbers, then any."""
        random.setstate((3, (*self.words, 0), None))
        numpy = sys.modules.get("numpy")
        if numpy:
            numpy.random.set_state(("MT19937", self.words, 0))

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what `func` returns, with its random numbers replaced where they can be."""
        output = func(*args, **kwargs)
        name = drawing_name(func, kwargs)
        line = calling_line(sys._getframe(1))
        self.answers[line] = self.answers.get(line, 0) + 1
        if self.answers[line] > _ANSWERS or not isinstance(output, Tensor) or output.is_meta:
            return output
        plain = name.rpartition(".")[2]
        rest = args[1:]
        if plain in ("rand", "rand_like"):
            return output.fill_(self.u)
        if plain == "uniform_":
            low = rest[0] if rest else kwargs.get("from", 0.0)
            high = rest[1] if len(rest) > 1 else kwargs.get("to", 1.0)
            return output.fill_(low + (high - low) * self.u)
        if plain in ("randn", "randn_like"):
            return output.fill_(2.0 if self.high else -2.0)
        if plain == "randperm":
            return output.copy_(output.sort(descending=self.high).values)
        if plain in ("bernoulli", "bernoulli_"):
            given = rest[0] if rest else kwargs.get("p")
            if given is None:
                given = 0.5 if plain == "bernoulli_" else args[0]
            p = given if isinstance(given, Tensor) else torch.full_like(output, given)
            return output.copy_((p > self.u).to(output.dtype))
        return output


@contextmanager
def watched(record: Callable[[str, str], None]) -> Iterator[None]:
    """Tell `record` of every function of Python's and numpy's generators, with its line."""
    numpy = sys.modules.get("numpy")
    sources = [("random", random, random._inst)]  # pyright: ignore[reportAttributeAccessIssue]
    if numpy:
        sources.append(("numpy.random", numpy.random, numpy.random.mtrand._rand))
    with ExitStack() as stack:
        for name, module, generator in sources:
            for key, function in list(vars(module).items()):
                state = key in ("seed", "get_state", "set_state", "getstate", "setstate")
                if getattr(function, "__self__", None) is generator and not state:
                    stack.callback(setattr, module, key, function)
                    setattr(module, key, telling(record, f"{name}.{key}", function))
        yield


def telling(record: Callable[[str, str], None], name: str, function: Any) -> Any:
    """Return a function that tells of each call, with its line."""

    def told(*args: Any, **kwargs: Any) -> Any:
        record(name, calling_line(sys._getframe(1)))
        return function(*args, **kwargs)

    return told


@contextmanager
def profiled(record: Callable[[str, str], None]) -> Iterator[None]:
    """Tell `record` of Python's generator as well where a name was imported from `random`."""
    generator = random._inst  # pyright: ignore[reportAttributeAccessIssue]

    def look(frame: FrameType, event: str, given: Any) -> None:
        if event == "c_call" and getattr(given, "__self__", None) is generator:
            record(f"random.{given.__name__}", calling_line(frame))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
