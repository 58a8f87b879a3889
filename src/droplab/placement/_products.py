"""Layers known by what they do: modules that multiply their input by weights of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.utils.weak import WeakTensorKeyDictionary

from droplab.placement._layers import is_dropout, role
from droplab.placement._tags import VIEWS, Tag, tensors
from droplab.placement._walk import ROOT

MULTIPLY = frozenset(
    {
        *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm"),
        *("einsum", "tensordot", "bilinear", "conv1d", "conv2d", "conv3d", "grouped_mm"),
        *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        "multi_head_attention_forward",
    }
)
"""Functions that multiply by weights."""

_PRODUCTS = frozenset(
    name for name in MULTIPLY if not name.startswith(("conv", "bilinear", "multi_head"))
)
"""Those of them by which a module is a linear layer."""


def may_multiply(module: nn.Module, path: str) -> bool:
    """Whether a module that is no weight layer has matrices of its own to multiply by."""
    return (
        role(module) is None
        and not is_dropout(module)
        and not isinstance(module, torch.jit.ScriptModule)
        and "parametrizations" not in path.split(".")
        and bool(matrices(module, path))
    )


def matrices(module: nn.Module, path: str) -> frozenset[str]:
    """Return the names of a module's own matrices, of those that are parametrised as well."""
    found = {key for key, p in module._parameters.items() if p is not None and p.dim() > 1}
    if is_parametrized(module):
        found.update(cast("nn.ModuleDict", module.parametrizations))
    return frozenset(parameter_name(path, key) for key in found)


def parameter_name(path: str, key: str) -> str:
    """Return the name of a parameter of the module at a path."""
    return f"{path}.{key}".removeprefix("..")


def made_weight(module: nn.Module, path: str) -> str:
    """Return the name of the parameter that a parametrisation makes; "" if it is none."""
    if not isinstance(module, ParametrizationList):
        return ""
    owner, _, key = path.rpartition(".")
    return parameter_name(owner.removesuffix("parametrizations").removesuffix(".") or ROOT, key)


class Product:
    """One call of such a module: what becomes of its input.

    Its input is a site if weights of its own are all that reads it: then it may as well be dropped
    before the module is called.

    Args:
        path: The module's path.
        given: What it was called with; its first tensor is its input.
        weights: The names of its own matrices.
    """

    def __init__(self, path: str, given: Sequence[Tensor], weights: frozenset[str]) -> None:
        self.path = path
        self.weights = weights
        self.views = WeakTensorKeyDictionary()
        """The input, and what has its values in another shape."""
        for x in given[:1]:
            self.views[x] = True
        self.used: set[str] = set()
        """Which of its parameters multiply the input."""
        self.mixed = any(x is given[0] for x in given[1:])
        """Whether anything else reads it."""

    def see(
        self, name: str, inputs: Sequence[Tensor], tags: Sequence[Tag], output: Any, owner: str
    ) -> None:
        """Look at a function that ran.

        Args:
            name: The function, as `plain_name` gives it.
            inputs: Its tensor arguments.
            tags: Their tags.
            output: What it returned.
            owner: The path of the module that was running.
        """
        if self.mixed or not any(x in self.views for x in inputs):
            return
        made = list(tensors(output))
        if output is not None and (not made or name.endswith("_like") or name.startswith("new_")):
            return  # its shape, its device
        mine = self.weights.intersection(tag.weight for tag in tags)
        if name in VIEWS:
            for x in made if inputs[0] in self.views else ():  # or it is one "as" the input is
                self.views[x] = True
        elif name in _PRODUCTS and mine and owner == self.path:
            self.used |= mine
        else:
            self.mixed = True

    def leave(self, output: Any) -> bool:
        """Return whether the input was multiplied, and nothing else, now that the call ends."""
        self.mixed |= any(x in self.views for x in tensors(output))
        return bool(self.used) and not self.mixed
