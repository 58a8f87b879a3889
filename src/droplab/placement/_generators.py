"""Generators of Python's and numpy's that a model owns: copies that tell of each draw."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

from torch import nn

from droplab.placement._drawn import Extremes, telling

_NO_DRAWS = ("seed", "get_state", "set_state", "getstate", "setstate", "spawn")


@contextmanager
def own_generators(
    model: nn.Module,
    record: Callable[[str, str], None] | None = None,
    extremes: Extremes | None = None,
) -> Iterator[None]:
    """Let the modules of a model draw from copies of the generators that are their attributes.

    So the model's own stay where they are.

    Args:
        model: The model.
        record: Told of every draw, with its line.
        extremes: What the copies begin with, as Python's and numpy's own generators do.
    """
    numpy = sys.modules.get("numpy")
    kinds = _kinds(numpy)
    copies: dict[int, Any] = {}
    replaced: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in model.modules():
            for name, value in list(vars(module).items()):
                kind = kinds.get(type(value))
                if kind is not None:
                    if id(value) not in copies:
                        copies[id(value)] = _copied(value, kind, record, extremes, numpy)
                    replaced.append((module, name, value))
                    vars(module)[name] = copies[id(value)]
        yield
    finally:
        for module, name, value in replaced:
            vars(module)[name] = value


def _kinds(numpy: ModuleType | None) -> dict[type, str]:
    """Return the classes of generators, with their names."""
    kinds: dict[type, str] = {random.Random: "random.Random"}
    for name in ("Generator", "RandomState") if numpy else ():
        kinds[getattr(cast(Any, numpy).random, name)] = f"numpy.random.{name}"
    return kinds


def _copied(
    generator: Any,
    kind: str,
    record: Callable[[str, str], None] | None,
    extremes: Extremes | None,
    numpy: Any,
) -> Any:
    cls: Any = type(generator)

    class Told(cls):
        def __getattribute__(self, key: str) -> Any:
            value = super().__getattribute__(key)
            inside = sys._getframe(1).f_globals.get("__name__") == "random"
            if record is None or inside or key.startswith("_") or key in _NO_DRAWS:
                return value
            return telling(record, f"{kind}.{key}", value) if callable(value) else value

    if cls is random.Random:
        made = Told()
        made.setstate(generator.getstate() if extremes is None else (3, (*extremes.words, 0), None))
        return made
    if extremes is None:
        return Told(copy.deepcopy(generator._bit_generator))
    source = numpy.random.MT19937()
    key = numpy.array(extremes.words, dtype=numpy.uint32)
    source.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": 0}}
    return Told(source)
