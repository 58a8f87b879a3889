"""From a recipe's model to a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from droplab.errors import ArgumentError, RecipeError, nearest, quote
from droplab.importing import import_object
from droplab.models.mlp import MLP
from droplab.models.tabular import Tabular
from droplab.recipe import ModelSpec

BUILTIN: Mapping[str, Callable[..., nn.Module]] = {"mlp": MLP, "tabular": Tabular}
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
    try:
        return check_module(model, where=f"model.path: {spec.path}").train()
    except ArgumentError as error:
        raise RecipeError(str(error)) from None


def check_module(model: Any, *, where: str) -> nn.Module:
    """Return `model` if it is a module that droplab can train with a loop of its own.

    Args:
        model: What a class or function of the user's made.
        where: What the message begins with.

    Raises:
        ArgumentError: If it is no `torch.nn.Module`, or one that brings a training step of its own,
            which would be ignored without a word.

    Example:
        >>> check_module("net", where="model")
        Traceback (most recent call last):
        droplab.errors.ArgumentError: model: expected a torch.nn.Module, got str
    """
    loops = (("training_step", "configure_optimizers"), ("train_step", "fit"))
    own = next(
        (names for names in loops if all(callable(getattr(model, n, None)) for n in names)), ()
    )
    inner = _inner(model)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"{where}: expected a torch.nn.Module, got {type(model).__name__}"
            + (f"; give the module inside it, {inner}" if inner else "")
        )
    lazy = [name for name, each in model.named_parameters() if nn.parameter.is_lazy(each)]
    if lazy:
        raise ArgumentError(
            f"{where}: {lazy[0]!r} has no shape yet, as a lazy layer has none before its first "
            "batch; write the sizes out, or call the model once on a batch where it is made"
        )
    if own and _is_lightning(model):
        raise ArgumentError(
            f"{where}: expected a plain module, got {type(model).__name__}, a LightningModule, "
            "whose training_step and optimizer would not be used here; let its own Trainer train "
            "it, by droplab.integrations.lightning.study (docs/integrations.md), or give the "
            f"network inside it{f', {inner}' if inner else ''}"
        )
    if own:
        raise ArgumentError(
            f"{where}: {type(model).__name__} has {' and '.join(own)} of its own, which droplab "
            f"would not call: it trains by plain cross entropy, with the optimizer that it is "
            f"given. Give the network inside it{f', {inner}' if inner else ', a plain module'}, "
            "and its optimizer as the recipe's or the sweep's"
        )
    return model


def _is_lightning(model: nn.Module) -> bool:
    """Say whether a class of Lightning's is among the bases, without loading it."""
    return any(
        base.__name__ == "LightningModule"
        and base.__module__.partition(".")[0] in ("lightning", "pytorch_lightning")
        for base in type(model).__mro__
    )


def _inner(model: Any) -> str:
    """Return where in a trainer or a wrapper the network usually lies, if it is there."""
    names = ("model", "module", "module_", "net", "network", "backbone", "_orig_mod")
    return next(
        (f".{name}" for name in names if isinstance(getattr(model, name, None), nn.Module)), ""
    )


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
