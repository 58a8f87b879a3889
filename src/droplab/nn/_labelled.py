"""The name of a layer in whatever its forward pass refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import nn

from droplab.errors import ArgumentError, DroplabError


class Labelled(nn.Module):
    """Base of the layers of this package: what `forward` refuses begins with the layer's label.

    The name is put in here, at the boundary of the layer, and not in each of the checks below it.
    """

    label: str
    """What error messages call this layer; the name of its class unless set."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.label = cls.__name__
        if "forward" in cls.__dict__:
            cls.forward = _named(cls.__dict__["forward"])

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse to be scripted, before torch.jit.script fails at an annotation."""
        raise ArgumentError(
            f"{self.label}: a layer of droplab cannot be scripted; trace the model, or write it "
            "with droplab export"
        )


def _named(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def call(self: Labelled, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # the compiler is spared what cannot happen later
            return forward(self, *args, **kwargs)
        try:
            return forward(self, *args, **kwargs)
        except DroplabError as error:
            _put_in(self, error)
            raise
        except RuntimeError as error:
            if not torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage] # no public name
                raise
            raise ArgumentError(
                f"{self.label}: a layer of droplab cannot be traced in training mode; call "
                "model.eval() first, or use torch.export"
            ) from error

    return call


def _put_in(layer: Labelled, error: DroplabError) -> None:
    label = layer.label
    head, colon, rest = str(error).partition(": ")
    if head == label or head.startswith(f"{label} "):
        return
    # The functional form calls itself by its own name: "drop_path: ..." of a DropPath.
    kinds = {kind.__name__.lower() for kind in type(layer).__mro__}
    same = head.replace("_", "") in kinds
    error.args = (f"{label}{colon}{rest}" if same else f"{label}: {error}",)
