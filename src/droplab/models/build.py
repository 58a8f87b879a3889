"""From a recipe's model to a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from droplab.errors import ArgumentError, RecipeError, nearest, quote
from droplab.importing import import_object
from droplab.models.mlp import MLP
from droplab.recipe import ModelSpec

BUILTIN: Mapping[str, Callable[..., nn.Module]] = {"mlp": MLP}
"""The models that a recipe may call by a bare name."""


def build(spec: ModelSpec) -> nn.Module:
    """Return a fresh model, as its class or function makes it.

    Args:
        spec: A name of `BUILTIN`, or an import path (with the working directory on the path) of a
            class or function, and keyword arguments for it. Lists arrive as tuples.

    Returns:
        A new module in training mode.

    Raises:
        RecipeError: If there is no such model, it does not take the arguments, fails on them, or
            is no `nn.Module`.

    Randomness: whatever the model's own initialisation draws from torch's default generator.

    Example:
        >>> build(ModelSpec("mlp", {"in_features": 64, "hidden": [8]})).fc2.out_features
        10
        >>> build(ModelSpec("mpl"))
        Traceback (most recent call last):
        droplab.errors.RecipeError: model.path: no built-in model 'mpl'; did you mean 'mlp'? ...
    """
    factory = _factory(spec.path)
    _check_arguments(factory, spec)
    try:
        model = factory(**spec.arguments)
    except ArgumentError as error:
        raise RecipeError(f"model.{error}") from None
    except Exception as error:
        raise RecipeError(
            f"model: {spec.path} fails with {type(error).__name__}: {error}; it was called with "
            f"{_call(spec.arguments)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"model.path: expected a class or function that makes a torch.nn.Module, got "
            f"{type(model).__name__} from {spec.path}"
        )
    return model.train()


def _factory(path: str) -> Callable[..., Any]:
    if ":" not in path:
        if path in BUILTIN:
            return BUILTIN[path]
        raise RecipeError(
            f"model.path: no built-in model '{path}'{nearest(path, BUILTIN)} For a model of your "
            "own write its import path, 'my_package.nets:Net'"
        )
    try:
        found = import_object(path, where="model.path")
    except ArgumentError as error:
        raise RecipeError(str(error)) from error.__cause__
    if isinstance(found, nn.Module):
        raise RecipeError(
            f"model.path: {path} is a finished module, which all arms and seeds would share; "
            "name its class, or a function that makes a new one"
        )
    if not callable(found):
        raise RecipeError(
            f"model.path: expected a class or function, got {type(found).__name__} from {path}"
        )
    return found


def _check_arguments(factory: Callable[..., Any], spec: ModelSpec) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    kinds = inspect.Parameter
    takes = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    ]
    open_ended = any(item.kind is kinds.VAR_KEYWORD for item in signature.parameters.values())
    unknown = [name for name in spec.arguments if name not in takes] if not open_ended else []
    missing = [
        name
        for name in takes
        if signature.parameters[name].default is kinds.empty and name not in spec.arguments
    ]
    problems = [
        f"model.{name}: {spec.path} takes no such argument{nearest(name, takes)}"
        for name in unknown
    ]
    problems += [f"model.{name}: {spec.path} needs this argument" for name in missing]
    if problems:
        raise RecipeError("\n".join(problems))


def _call(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={quote(value)}" for key, value in arguments.items()) or "no arguments"
