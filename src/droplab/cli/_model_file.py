"""A model in a user's file: FILE.py:NAME, made with the arguments that are given."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from droplab.documents import DocumentError, parse_json
from droplab.errors import ArgumentError, nearest, quote
from droplab.limits import QUOTED

if TYPE_CHECKING:
    from torch import nn


def split_target(target: str) -> tuple[Path, str]:
    """Return file and name of "FILE.py:NAME".

    Raises:
        ArgumentError: If there is no class in it, or no such file.
    """
    file, colon, name = target.rpartition(":")
    if not colon or not name or not file or not name.replace(".", "").isidentifier():
        raise ArgumentError(
            f"{target}: expected a file and a class, FILE.py:Class; name the class of the model"
        )
    path = Path(file)
    if not path.is_file():
        raise ArgumentError(f"{file}: expected a Python file, found none there")
    return path, name


def load_model(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the model that FILE.py:NAME stands for or makes.

    Args:
        target: NAME is a class, a function that makes a model, or a finished one.
        arguments: What a class or function is called with.

    Raises:
        ArgumentError: If the file does not import, or the class is not there, needs arguments, or
            fails; with its own error, cut to the point.
    """
    from torch import nn

    path, name = split_target(target)
    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of our output
        module = _import(path)
        found: Any = module
        for part in name.split("."):
            if not hasattr(found, part):
                names = [key for key, value in vars(found).items() if _makes_models(value, module)]
                raise ArgumentError(
                    f"{path}: expected a model '{name}', got none of that name"
                    f"{nearest(part, names)}"
                )
            found = getattr(found, part)
        if isinstance(found, nn.Module):
            if arguments:
                raise ArgumentError(
                    f"{target}: expected a class or function to call with --arg, got a finished "
                    "model"
                )
            return found
        if not callable(found):
            raise ArgumentError(
                f"{target}: expected a class or function that makes a model, got a "
                f"{type(found).__name__}"
            )
        return _call(target, path, found, arguments)


def _makes_models(value: Any, module: ModuleType) -> bool:
    """Return whether a value is a model, a class of them, or a function of the file itself."""
    from torch import nn

    if inspect.isfunction(value):
        return value.__module__ == module.__name__ and not value.__name__.startswith("_")
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
            raise ArgumentError(f"{path}: expected a Python file, with a name that ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    except ArgumentError:
        raise
    except (Exception, SystemExit) as error:
        raise ArgumentError(f"{path}: does not import: {_own_error(error, full)}") from None


def _own_error(error: BaseException, path: Path) -> str:
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
        raise ArgumentError(f"--arg {_shown(text)}: expected name=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value  # a word is a string, and so is what is nested too deeply


def _shown(text: str) -> str:
    return text if len(text) <= QUOTED else quote(text)


def _call(
    target: str, path: Path, make: Callable[..., Any], arguments: Mapping[str, Any]
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
        raise ArgumentError(
            f"{target}: cannot be made with ({call}): {_own_error(error, path)}; "
            "give other arguments with --arg name=value"
        ) from None
    from torch import nn

    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"{target}: expected a torch.nn.Module to come out, got {type(model).__name__}"
        )
    return model


def _check_arguments(
    target: str, signature: inspect.Signature, arguments: Mapping[str, Any]
) -> None:
    named = {
        name: item
        for name, item in signature.parameters.items()
        if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    }
    open_ended = any(item.kind is item.VAR_KEYWORD for item in signature.parameters.values())
    unknown = [name for name in arguments if name not in named and not open_ended]
    if unknown:
        raise ArgumentError(
            f"{target}: takes no argument '{unknown[0]}'{nearest(unknown[0], named)}"
        )
    missing = [
        name for name, item in named.items() if item.default is item.empty and name not in arguments
    ]
    if missing:
        flags = " ".join(f"--arg {name}=VALUE" for name in missing)
        raise ArgumentError(
            f"{target}: needs the argument{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}, got none; add {flags}"
        )


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how to make a model, and what to run it on."""
    example = click.option(
        "--example",
        "examples",
        multiple=True,
        metavar="SHAPE",
        help="Input to run the model on once: 64x1x28x28, int:4x12<1000 (a kind, before or "
        "after the shape, and a bound for integers), [12,9] (the very numbers), "
        "input_ids=int:4x12. Several, with commas or in several options, make several "
        "arguments.",
    )
    return argument_options(example(command))


def argument_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how to make a model."""
    for option in (
        click.option("--arguments", metavar="JSON", help="All such arguments, as a JSON object."),
        click.option(
            "--arg",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="An argument that NAME is called with; can be given several times.",
        ),
    ):
        command = option(command)
    return command


def read_arguments(given: Sequence[str], document: str | None) -> dict[str, Any]:
    """Return the arguments that `--arg` and `--arguments` give.

    Raises:
        ArgumentError: If one is not name=value, the document is no JSON object, or one is given
            twice.

    Example:
        >>> read_arguments(["p=0.5", "act=relu"], '{"sizes": [3, 4]}')
        {'sizes': [3, 4], 'p': 0.5, 'act': 'relu'}
    """
    found: Any = {}
    if document is not None:
        try:
            found = parse_json(document)
        except DocumentError as error:
            raise ArgumentError(f"--arguments: expected a JSON object, got {error}") from None
        if not isinstance(found, dict):
            raise ArgumentError(f"--arguments: expected a JSON object, got {quote(document)}")
    for text in given:
        name, value = _argument(text)
        if name in found:
            raise ArgumentError(f"--arg {_shown(text)}: given twice; give it once")
        found[name] = value
    return found


def model_of(
    target: str, weights: Path | None, given: Sequence[str], document: str | None
) -> nn.Module:
    """Return the model that FILE.py:NAME stands for, with weights from a file where one is given.

    Raises:
        ArgumentError: If the model cannot be made, or the weights are not its own.
    """
    model = load_model(target, read_arguments(given, document))
    if weights is not None:
        from droplab.train.state_file import load_state

        load_state(model, weights)
    return model


TARGET = click.argument("target", metavar="FILE.py:NAME")
