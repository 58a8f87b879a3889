"""A model named on the command line, as FILE.py:NAME, and random input for it."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from droplab.doctor.finding import Finding
from droplab.doctor.live.examine import examine
from droplab.documents import DocumentError, parse_json
from droplab.errors import ArgumentError, nearest, quote
from droplab.limits import ELEMENTS, QUOTED

_SHAPE = re.compile(r"(\d+(?:x\d+)*)(?::([a-z0-9]+)(?:<(\d+))?)?")
_DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
}


def examine_target(target: str, shapes: Iterable[str], arguments: str | None) -> list[Finding]:
    """Import a file, build the model it names, and examine it on random input.

    Args:
        target: "FILE.py:NAME"; NAME is a module, a class or a function that returns one.
        shapes: One shape for each argument of forward, as `example` reads them.
        arguments: Keyword arguments to build it with, as a JSON object.

    Raises:
        ArgumentError: The file, the name, a shape or the arguments cannot be used.
    """
    batch = tuple(example(shape) for shape in shapes)
    model = build(target, arguments)
    return examine(model, batch)


def example(text: str) -> Tensor:
    """Return random input of a shape: "64x1x28x28", "64x128:int64<1000".

    Images are smooth, as real ones are: neighbouring pixels are correlated. Integers are below the
    number after "<", 10 by default.

    Args:
        text: Sizes with "x" between them; then ":" and a dtype; then "<" and a bound.

    Raises:
        ArgumentError: The text is no shape.

    Randomness:
        Draws from a generator of its own with seed 0.

    Example:
        >>> example("2x3:int64<5").shape
        torch.Size([2, 3])
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ArgumentError(
            f"--example: expected a shape such as 64x1x28x28 or 64x128:int64<1000, got "
            f"{quote(text)}"
        )
    sizes = [int(size) for size in match[1].split("x")] if len(text) <= QUOTED else [0]
    if 0 in sizes or len(sizes) > 8 or math.prod(sizes) > ELEMENTS:
        raise ArgumentError(
            f"--example: expected at most 8 sizes from 1, and at most {ELEMENTS} elements, got "
            f"{quote(text)}"
        )
    name = match[2] or "float32"
    if name not in _DTYPES:
        raise ArgumentError(f"--example: unknown dtype {quote(name)}{nearest(name, _DTYPES)}")
    generator = torch.Generator().manual_seed(0)
    dtype = _DTYPES[name]
    if not dtype.is_floating_point:
        high = 2 if name == "bool" else int(match[3] or 10)
        if not 1 <= high < 2**63:
            raise ArgumentError(
                f"--example: the bound after '<' must be from 1 to 2**63 - 1, got {high}"
            )
        return torch.randint(0, high, sizes, generator=generator).to(dtype)
    x = torch.randn(sizes, generator=generator)
    if len(sizes) == 4:
        x = nn.functional.avg_pool2d(x, 5, 1, 2)
    elif len(sizes) == 5:
        x = nn.functional.avg_pool3d(x, 3, 1, 1)
    return (x / x.std(correction=0).clamp_min(1e-6)).to(dtype)


def build(target: str, arguments: str | None = None) -> nn.Module:
    """Import the file of "FILE.py:NAME" and return the model that NAME stands for.

    Raises:
        ArgumentError: The file does not exist or fails to import, it has no such name, the
            arguments are no JSON object, or what comes out is no torch module.
    """
    file, _, name = target.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ArgumentError(f"{file}: no such file")
    keywords = _keywords(arguments)
    module = _load(path)
    found = getattr(module, name, None)
    if found is None:
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ArgumentError(f"{file}: it has no {quote(name)}{nearest(name, names)}")
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ArgumentError(
                f"{target}: expected a model, a class or a function, got {type(found).__name__}"
            )
        try:
            found = found(**keywords)
        except Exception as error:
            raise ArgumentError(
                f"{target}: cannot be built with the arguments {keywords}: "
                f"{type(error).__name__}: {error}; give them with --arguments"
            ) from error
    elif keywords:
        raise ArgumentError(f"{target}: expected a class for --arguments, got a built model")
    if not isinstance(found, nn.Module):
        raise ArgumentError(f"{target}: expected a torch.nn.Module, got {type(found).__name__}")
    return found


def _keywords(arguments: str | None) -> dict[str, Any]:
    if arguments is None:
        return {}
    try:
        value = parse_json(arguments)
    except DocumentError as error:
        raise ArgumentError(f"--arguments: expected a JSON object, got {error}") from None
    if not isinstance(value, dict):
        raise ArgumentError(f"--arguments: expected a JSON object, got {quote(arguments)}")
    return cast("dict[str, Any]", value)


def _load(path: Path) -> ModuleType:
    """Import a file; as part of its package if it lies in one, so that relative imports work."""
    path = path.resolve()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        if len(parts) > 1:
            return importlib.import_module(".".join(parts))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
    except Exception as error:
        raise ArgumentError(
            f"{path.name}: fails to import: {type(error).__name__}: {error}"
        ) from error
    return module
