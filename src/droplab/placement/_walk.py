"""Paths to the modules of a model, through the wrappers around it."""

from __future__ import annotations

import sys

import torch
from torch import nn

from droplab.errors import PlacementError

ROOT = "."
"""The name of the site when the model itself is a weight layer."""

BRANCH = "path/"
"""What the name of a residual branch begins with; the path of the layer that ends it follows."""

_COMPILED = "_orig_mod"


def is_branch(name: str) -> bool:
    """Say whether a site's name is that of a residual branch."""
    return name.startswith(BRANCH)


def inner(model: nn.Module) -> nn.Module:
    """Return the user's own module inside compiled and distributed wrappers.

    Raises:
        PlacementError: If `model` is no module, is scripted, or is wrapped in `DataParallel`.
    """
    while True:
        if not isinstance(model, nn.Module):
            raise PlacementError(
                f"model: expected a torch.nn.Module, got {type(model).__name__}"
                + ("; create an instance of the class first" if isinstance(model, type) else "")
            )
        if isinstance(model, torch.jit.ScriptModule):
            raise PlacementError(
                "model: expected a Python module, got one that torch.jit has scripted or traced; "
                "its code is fixed and ignores new hooks; place dropout before scripting"
            )
        if isinstance(model, nn.DataParallel):
            raise PlacementError(
                "model: expected a module that runs once a step, got one in DataParallel, whose "
                "threads would race for the masks; pass its .module, or use "
                "DistributedDataParallel"
            )
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif _COMPILED in model._modules and type(model).__name__ == "OptimizedModule":
            model = model._modules[_COMPILED]  # pyright: ignore[reportAssignmentType] # never None
        else:
            return model


def paths(model: nn.Module) -> dict[str, nn.Module]:
    """Return all paths of `inner(model)` in order, also those of modules registered twice.

    The wrapper of a compiled submodule leaves no trace in the path.
    """
    found: dict[str, nn.Module] = {}
    for path, module in inner(model).named_modules(remove_duplicate=False):
        clean = ".".join(part for part in path.split(".") if part != _COMPILED)
        found[clean or ROOT] = module  # the inner module comes after its wrapper and stays
    return found


def unique(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return every module once, with all its paths, the first one being its name."""
    found: dict[nn.Module, list[str]] = {}
    for path, module in paths(model).items():
        found.setdefault(module, []).append(path)
    return found


def reset_compiler() -> None:
    """Forget compiled code: torch ignores hooks that come or go after the first compiled call."""
    if "torch._dynamo" in sys.modules:  # importing it only to reset it would take seconds
        torch.compiler.reset()
