"""A model in a user's file: FILE.py:Class, with arguments and an example."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from torch import nn

from droplab.errors import PlacementError, nearest, quote
from droplab.limits import ELEMENTS, MOST_AXES, QUOTED

DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def split_target(target: str) -> tuple[Path, str]:
    """Return file and class of "FILE.py:Class".

    Raises:
        PlacementError: If there is no class in it, or no such file.
    """
    file, colon, name = target.rpartition(":")
    if not colon or not name or not file or not name.replace(".", "").isidentifier():
        raise PlacementError(
            f"{target}: expected a file and a class, FILE.py:Class; name the class of the model"
        )
    path = Path(file)
    if not path.is_file():
        raise PlacementError(f"{file}: expected a Python file, found none there")
    return path, name


def load_model(target: str, arguments: Sequence[str]) -> nn.Module:
    """Return the model that FILE.py:Class makes.

    Args:
        target: "FILE.py:Class"; a function that makes a model, or a finished one, will do.
        arguments: What the class is called with, each as "name=value".

    Raises:
        PlacementError: If the file does not import, or the class is not there, needs arguments, or
            fails; with its own error, cut to the point.
    """
    path, name = split_target(target)
    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of our output
        module = _import(path)
        found: Any = module
        for part in name.split("."):
            if not hasattr(found, part):
                names = [key for key, value in vars(found).items() if _makes_models(value)]
                raise PlacementError(
                    f"{path}: expected a model class '{name}', got none of that name"
                    f"{nearest(part, names)}"
                )
            found = getattr(found, part)
        if isinstance(found, nn.Module):
            return found
        if not callable(found):
            raise PlacementError(
                f"{target}: expected a class or function that makes a model, got a "
                f"{type(found).__name__}"
            )
        return _call(target, path, found, dict(_argument(text) for text in arguments))


def _makes_models(value: Any) -> bool:
    return isinstance(value, nn.Module) or (
        isinstance(value, type) and issubclass(value, nn.Module)
    )


def _import(path: Path) -> ModuleType:
    """Import a file as Python would: a part of a package by its dotted name."""
    full = path.resolve()
    folder, name = full.parent, full.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    try:
        if "." in name:
            return importlib.import_module(name)
        name = name if name not in sys.modules else f"_droplab_user_{name}"
        spec = importlib.util.spec_from_file_location(name, full)
        if spec is None or spec.loader is None:
            raise PlacementError(f"{path}: expected a Python file, with a name that ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    except PlacementError:
        raise
    except (Exception, SystemExit) as error:
        raise PlacementError(f"{path}: does not import: {own_error(error, full)}") from None


def own_error(error: BaseException, path: Path) -> str:
    """Return a user's error in one line, with the last line of the user's file that led to it."""
    message = " ".join(str(error).split())[:300]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f"line {lines[-1]}: {text}" if lines else text


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise PlacementError(f"--arg {_shown(text)}: expected name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value  # a word is a string; what is nested too deeply is none of ours


def _call(
    target: str, path: Path, make: Callable[..., Any], arguments: dict[str, Any]
) -> nn.Module:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        _check_arguments(target, signature, arguments)
    try:
        model = make(**arguments)
    except (Exception, SystemExit) as error:
        call = ", ".join(f"{key}={quote(value)}" for key, value in arguments.items())
        raise PlacementError(
            f"{target}: cannot be made with ({call}): {own_error(error, path)}; "
            "give other arguments with --arg name=value"
        ) from None
    if not isinstance(model, nn.Module):
        raise PlacementError(
            f"{target}: expected a torch.nn.Module to come out, got {type(model).__name__}"
        )
    return model


def _check_arguments(target: str, signature: inspect.Signature, arguments: dict[str, Any]) -> None:
    named = {
        name: item
        for name, item in signature.parameters.items()
        if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    }
    open_ended = any(item.kind is item.VAR_KEYWORD for item in signature.parameters.values())
    unknown = [name for name in arguments if name not in named and not open_ended]
    if unknown:
        raise PlacementError(
            f"{target}: takes no argument '{unknown[0]}'{nearest(unknown[0], named)}"
        )
    missing = [
        name for name, item in named.items() if item.default is item.empty and name not in arguments
    ]
    if missing:
        flags = " ".join(f"--arg {name}=VALUE" for name in missing)
        raise PlacementError(
            f"{target}: needs the argument{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}, got none; add {flags}"
        )


def read_examples(texts: Sequence[str]) -> Any:
    """Return an example batch for the shapes given, None without any.

    Args:
        texts: Shapes as "64x1x28x28", "2x7:int" or "input_ids=2x7:int". Floats are standard
            normal, integers and booleans are zero, which every embedding has.

    Raises:
        PlacementError: If a text is no shape.
    """
    if not texts:
        return None
    args: list[torch.Tensor] = []
    kwargs: dict[str, torch.Tensor] = {}
    for text in texts:
        name, tensor = _example(text)
        if name:
            kwargs[name] = tensor
        else:
            args.append(tensor)
    if args and kwargs:
        raise PlacementError("--example: expected all shapes with a name, or none, got both")
    return kwargs or tuple(args)


def _example(text: str) -> tuple[str, torch.Tensor]:
    name, _, rest = text.rpartition("=")
    shape, _, kind = rest.partition(":")
    sizes = shape.lower().split("x")
    kind = kind or "float"
    if (
        kind not in DTYPES
        or not all(size.isdecimal() and len(size) < 12 for size in sizes)
        or (name and not (name.isidentifier()))
    ):
        raise PlacementError(
            f"--example {_shown(text)}: expected a shape such as 64x1x28x28, 2x7:int or "
            f"input_ids=2x7:int (kinds: {', '.join(DTYPES)})"
        )
    size = [int(part) for part in sizes]
    if len(size) > MOST_AXES or math.prod(size) > ELEMENTS:
        raise PlacementError(
            f"--example {_shown(text)}: expected at most {MOST_AXES} sizes and {ELEMENTS} elements"
        )
    if kind == "float":
        generator = torch.Generator().manual_seed(0)
        return name, torch.randn(size, generator=generator)
    return name, torch.zeros(size, dtype=DTYPES[kind])


def _shown(text: str) -> str:
    return text if len(text) <= QUOTED else quote(text)


TARGET = click.argument("target", metavar="FILE.py:Class")
